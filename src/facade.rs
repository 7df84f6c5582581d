//! What tests, benches and `realtime-cli` use of this crate, under the names that it has inside.
//!
//! Nothing else is public: so the compiler reports code that nobody calls.

pub mod calendar {
    pub use crate::calendar::civil::days;
    pub use crate::calendar::format::iso8601;
}

pub mod config {
    pub use crate::config::Config;
    pub use crate::config::address::{Address, Place};
    pub use crate::config::options::{OPTIONS, OptionKind, environment_name};
    pub use crate::config::sources::{Operator, Sources};
    pub mod limits {
        pub use crate::config::limits::{
            CLOSE_FLUSH_MAX, HEARTBEAT, NAME_BYTES_MAX, OUTBOX_JOBS_MAX, PAYLOAD_BYTES_MAX, SENDERS_MAX, SILENCE_MAX,
        };
    }
}

pub mod embedded {
    pub use crate::embedded::files::{Claim, Files};
    pub use crate::embedded::server::{Server, Waker};
}

pub mod engine {
    pub use crate::engine::Engine;
    pub use crate::engine::call::{Call, CallbackRef, Deliver, Outcome};
    pub use crate::engine::refusal::Refusal;
    pub mod event_log {
        pub use crate::engine::event_log::LogQuery;
    }
    pub mod requests {
        pub use crate::engine::requests::{Request, Requests};
    }
}

pub mod event {
    pub use crate::event::{EventText, glob};
    pub mod identity {
        pub use crate::event::identity::{Identity, MEMBER, unix_ms};
    }
    pub mod ledger {
        pub use crate::event::ledger::{Ledger, Sight};
    }
    pub mod notice {
        pub use crate::event::notice::Notice;
    }
    pub mod payload {
        pub use crate::event::payload::decode_with;
    }
    pub mod topic {
        pub use crate::event::topic::Topic;
    }
}

pub mod eventlog {
    pub use crate::eventlog::spec::{Format, Fsync, LogSpec};
    pub use crate::eventlog::{Query, line, reader};
    pub mod disk {
        pub use crate::eventlog::disk::SystemDisk;
    }
    pub mod folder {
        pub use crate::eventlog::folder::LogFiles;
    }
    pub mod path {
        pub use crate::eventlog::path::LogPath;
    }
    pub mod segment {
        pub use crate::eventlog::segment::FindingKind;
    }
    pub mod writer {
        pub use crate::eventlog::writer::Writer;
    }
}

pub mod hooks {
    pub mod request {
        pub use crate::hooks::request::Webhook;
    }
    pub mod spec {
        pub use crate::hooks::spec::{ActionKind, Spec};
    }
    pub mod status {
        pub use crate::hooks::status::{GameValues, Player};
    }
}

pub mod io {
    pub mod lock {
        pub use crate::io::lock::lock;
    }
    pub mod net {
        pub use crate::io::net::{Socket, Timed};
    }
    pub mod shown {
        pub use crate::io::shown::shown;
    }
}

pub mod json {
    pub mod find {
        pub use crate::json::find::push_without;
    }
    pub mod tape {
        pub use crate::json::tape::{Reader, TapeItem, Undecoded};
    }
}

pub mod redis {
    pub use crate::redis::{PUSH_LIMITS, REPLY_LIMITS, answer, command};
    pub mod backoff {
        pub use crate::redis::backoff::Backoff;
    }
    pub mod cluster {
        pub use crate::redis::cluster::{NodePlace, Redirect};
    }
    pub mod connection {
        pub use crate::redis::connection::{AskError, ConnectError, Connection};
    }
    pub mod counter {
        pub use crate::redis::counter::{SCRIPT, SCRIPT_SHA};
    }
    pub mod error_reply {
        pub use crate::redis::error_reply::{Class, ErrorReply};
    }
    pub mod kept {
        pub use crate::redis::kept::{SCRIPT, SCRIPT_SHA};
    }
    pub mod lease {
        pub use crate::redis::lease::{FREE, FREE_SHA, TAKE, TAKE_SHA};
    }
    pub mod presence {
        pub use crate::redis::leaderboard::SearchProgress;
        pub use crate::redis::presence::Search;
    }
    pub mod push {
        pub use crate::redis::push::Push;
    }
    pub mod reply {
        pub use crate::redis::reply::decoder::Decoder;
        pub use crate::redis::reply::{OwnedReply, Reply};
    }
}

pub mod stats {
    pub use crate::stats::{Counters, Stats};
}

pub mod threads {
    pub mod selftest {
        pub use crate::threads::selftest::steps::run;
    }
    pub mod links {
        pub use crate::threads::links::SETTLE_MAX;
    }
    pub mod publisher {
        pub use crate::threads::publisher::outbox::OUTBOX_BYTES_MAX;
        pub use crate::threads::publisher::run::READ_AGE_MAX;
    }
    pub mod subscriber {
        pub use crate::threads::subscriber::inbox::INBOX_EVENTS_MAX;
    }
    pub mod files {
        pub use crate::threads::files::queue::ReadReply;
    }
    pub mod settings {
        pub use crate::threads::settings::read_operator;
    }
    pub mod shared {
        pub use crate::threads::shared::Shared;
    }
    pub mod webhooks {
        pub use crate::threads::webhooks::queue::{IntakeFull, Job};
    }
    pub mod workers {
        pub use crate::threads::workers::Workers;
    }
}

pub mod webhook {
    pub mod schedule {
        pub use crate::webhook::schedule::{DENIED_MAX, DestinationReport, DestinationState, WEBHOOK_JOBS_MAX};
    }
}

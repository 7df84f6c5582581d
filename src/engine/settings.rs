//! Changes of the settings: `Configure` by a script, and `realtime_reload` by the operator.
//! Game thread only. A change is checked completely before anything of it is in force, so an error changes nothing.
//! It may read certificate files of the operator from the disk, which is the only I/O here.

use crate::config::{self, Config, Operator, Place};
use crate::engine::{Engine, Refusal};
use crate::io::tls::Trust;
use crate::redis::connection::SETTINGS_ADVICE;

impl Engine {
    /// Takes the options of a script, all or none. `text` is a JSON object. Options that the operator has set stay as
    /// they are, and the log names the option that has no effect.
    pub fn configure(&mut self, text: &str) -> Result<(), Refusal> {
        self.admit()?;
        let mut sources = self.sources.clone();
        let overruled =
            sources.configure(text).map_err(|errors| Refusal::Config(config::sentences(&errors).join("; ")))?;
        // Complaints about the operator's sources were reported when those were read.
        let (config, _) = sources.resolve();
        let webhook_trust = self.check_files(&config, false).map_err(Refusal::Config)?;
        self.sources = sources;
        if config.server != self.config.server {
            config.renaming().iter().for_each(|sentence| log::warn!("{sentence}"));
        }
        for (option, source) in overruled {
            log::info!("option `{option}` of Configure has no effect: {source} sets it");
        }
        self.put_in_force(config, webhook_trust);
        Ok(())
    }

    /// Takes the operator's sources as they are now; options of scripts stay. Returns the lines to print. The previous
    /// settings stay in force if the new ones do not say where to connect, or name a certificate file that cannot be
    /// used.
    pub fn reload(&mut self, operator: Operator) -> Vec<String> {
        let sources = self.sources.with(operator);
        let (config, _) = sources.resolve();
        let mut lines = config.complaints.clone();
        let leads_nowhere = config.not_understood().is_some();
        let checked = self.check_files(&config, true);
        lines.extend(checked.as_ref().err().cloned());
        // If the previous settings led nowhere either, no connection can break: every valid option is taken, as at the
        // start.
        if self.config.not_understood().is_some() || checked.is_ok() && !leads_nowhere {
            self.sources = sources;
            self.put_in_force(config, checked.unwrap_or_default());
            lines.push(if leads_nowhere {
                format!("nothing connects to redis; {SETTINGS_ADVICE}")
            } else {
                let redis = match self.config.place {
                    Place::Named => self.config.redis_name(),
                    Place::Auto => format!("redis \"auto\", at {} or embedded", self.config.redis),
                    Place::Embedded => "redis \"embedded\"".to_owned(),
                };
                format!("settings read: {redis}")
            });
            lines.extend(self.config.renaming());
        } else {
            lines.push(format!("nothing changed, the previous settings stay in force; {SETTINGS_ADVICE}"));
        }
        lines
    }

    /// Reads the certificate files that these settings name: all of them, or those whose path changed. Returns the TLS
    /// settings for webhooks if their file was read; an error names the file that cannot be used.
    fn check_files(&self, config: &Config, all: bool) -> Result<Option<Trust>, String> {
        if all || config.tls_ca_file != self.config.tls_ca_file {
            Trust::read("tls_ca_file", &config.tls_ca_file)?;
        }
        if all || config.webhook_ca_file != self.config.webhook_ca_file {
            return Trust::read("webhook_ca_file", &config.webhook_ca_file).map(Some);
        }
        Ok(None)
    }

    /// Puts checked settings in force everywhere. `webhook_trust` is `None` if the webhooks' certificate file was not
    /// read again; the senders read it themselves then.
    fn put_in_force(&mut self, config: Config, webhook_trust: Option<Trust>) {
        if webhook_trust.is_some() || config.webhook_ca_file != self.config.webhook_ca_file {
            self.shared.webhooks.trust(&config.webhook_ca_file, webhook_trust);
        }
        let proxies = config.proxies();
        if proxies != self.config.proxies() {
            log::info!("{}", proxies.sentence().unwrap_or_else(|| "webhooks go out without a proxy".to_owned()));
            self.shared.webhooks.go_through(proxies);
        }
        // Equal settings must not end the connections.
        if config == *self.config {
            return;
        }
        // The identity of an event holds the server's name, and a checksum of the channel with the prefix.
        let prefix_changes = config.prefix != self.config.prefix;
        if prefix_changes || config.server != self.config.server {
            self.numbering.rename(&config.server, config.prefix.as_bytes());
        }
        let is_elsewhere = config.is_elsewhere(&self.config);
        if prefix_changes || is_elsewhere {
            self.pump.followers.forget();
        }
        self.done_key = self.shared.done_key(&config.prefix);
        self.shared.reconfigure(config);
        if is_elsewhere {
            // Another server may hold them there, and events of that Redis may come before the publisher has asked.
            self.shared.published.current().1.leases().iter().for_each(|(_, lease)| lease.set(None));
        }
        self.config = self.shared.settings.current();
        if prefix_changes {
            self.rename_routes();
        }
        self.shared.inbox.raise_attention();
    }
}

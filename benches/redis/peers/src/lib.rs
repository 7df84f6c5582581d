//! hiredis and redis-rs, each behind functions that do the same work as ours. No function here is generic, so that all of
//! it is built with this crate's own level of optimisation.

use std::ffi::c_int;

/// Decodes replies that arrive in pieces. Returns the number of replies and the bytes of all strings in them.
pub type Decode = fn(&[u8], usize) -> (usize, usize);

/// hiredis, through `hiredis.c`.
pub mod hiredis {
    use super::c_int;

    #[repr(C)]
    struct Context([u8; 0]);

    unsafe extern "C" {
        fn peer_decode(bytes: *const u8, length: usize, piece: usize, replies: *mut usize) -> i64;
        fn peer_encode(channel: *const u8, channel_length: usize, payload: *const u8, payload_length: usize) -> i64;
        fn peer_connect(port: c_int) -> *mut Context;
        fn peer_close(context: *mut Context);
        fn peer_publish(
            context: *mut Context,
            channel: *const u8,
            channel_length: usize,
            payload: *mut u8,
            payload_length: usize,
            number: usize,
            count: usize,
            depth: usize,
        ) -> c_int;
        fn peer_subscribe(context: *mut Context, channel: *const u8, channel_length: usize) -> c_int;
        fn peer_receive(context: *mut Context, count: usize, room: *mut u8, room_length: usize) -> i64;
    }

    /// See [`super::Decode`].
    pub fn decode(bytes: &[u8], piece: usize) -> (usize, usize) {
        let mut replies = 0;
        // SAFETY: the pointers lead to `bytes.len()` bytes and to one number, for the time of the call.
        let sum = unsafe { peer_decode(bytes.as_ptr(), bytes.len(), piece, &mut replies) };
        (replies, usize::try_from(sum).expect("hiredis cannot decode the input"))
    }

    /// Encodes one PUBLISH. Returns the number of bytes.
    pub fn encode(channel: &[u8], payload: &[u8]) -> usize {
        // SAFETY: each pointer leads to as many bytes as the length beside it says.
        let length = unsafe { peer_encode(channel.as_ptr(), channel.len(), payload.as_ptr(), payload.len()) };
        usize::try_from(length).expect("hiredis cannot encode the input")
    }

    /// One blocking connection.
    pub struct Connection(*mut Context);

    // SAFETY: hiredis keeps no state outside of a connection, so any thread may use it, one at a time.
    unsafe impl Send for Connection {}

    impl Connection {
        pub fn open(port: u16) -> Connection {
            // SAFETY: it takes a number only.
            let context = unsafe { peer_connect(port.into()) };
            assert!(!context.is_null(), "hiredis cannot connect to port {port}");
            Connection(context)
        }

        /// Publishes `count` times, `depth` commands at a time. `number` is the position of the last digit of a number in the
        /// payload, which is counted up: the digits before it must be enough.
        pub fn publish(
            &mut self,
            channel: &[u8],
            payload: &mut [u8],
            number: Option<usize>,
            count: usize,
            depth: usize,
        ) {
            let (name, text, number) = (channel.as_ptr(), payload.as_mut_ptr(), number.unwrap_or(0));
            assert!(number < payload.len());
            // SAFETY: the context is open, each pointer leads to as many bytes as the length beside it says, and the number
            // is inside of the payload.
            let ended = unsafe { peer_publish(self.0, name, channel.len(), text, payload.len(), number, count, depth) };
            assert_eq!(ended, 0, "hiredis cannot publish");
        }

        pub fn subscribe(&mut self, channel: &[u8]) {
            // SAFETY: the context is open, and the pointer leads to as many bytes as the length says.
            let ended = unsafe { peer_subscribe(self.0, channel.as_ptr(), channel.len()) };
            assert_eq!(ended, 0, "hiredis cannot subscribe");
        }

        /// Receives `count` messages into reply objects. Returns the payload of the last one.
        pub fn receive(&mut self, count: usize) -> Vec<u8> {
            let mut room = vec![0; 1024];
            // SAFETY: the context is open, and the pointer leads to as many bytes as the length says.
            let length = unsafe { peer_receive(self.0, count, room.as_mut_ptr(), room.len()) };
            room.truncate(usize::try_from(length).expect("hiredis cannot receive"));
            room
        }
    }

    impl Drop for Connection {
        fn drop(&mut self) {
            // SAFETY: the context is open, and nobody else has it.
            unsafe { peer_close(self.0) };
        }
    }
}

/// Bytes that come in pieces, as a socket gives them.
pub struct Pieces<'a> {
    pub left: &'a [u8],
    pub piece: usize,
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let size = self.piece.min(room.len()).min(self.left.len());
        let (now, later) = self.left.split_at(size);
        room[..size].copy_from_slice(now);
        self.left = later;
        Ok(size)
    }
}

/// redis-rs, synchronous.
pub mod redis_rs {
    use std::hint::black_box;
    use std::io::BufReader;

    use redis::Value;

    use super::Pieces;

    /// See [`super::Decode`].
    pub fn decode(bytes: &[u8], piece: usize) -> (usize, usize) {
        let mut parser = redis::Parser::new();
        let mut source = BufReader::with_capacity(piece, Pieces { left: bytes, piece });
        let (mut replies, mut sum) = (0, 0);
        while let Ok(value) = parser.parse_value(&mut source) {
            replies += 1;
            sum += text_bytes(&value);
        }
        (replies, sum)
    }

    /// As `len` of a reply object of hiredis: the bytes of strings, of the elements too.
    fn text_bytes(value: &Value) -> usize {
        match value {
            Value::BulkString(bytes) => bytes.len(),
            Value::SimpleString(text) => text.len(),
            Value::Okay => 2,
            Value::Array(elements) => elements.iter().map(text_bytes).sum(),
            _ => 0,
        }
    }

    /// Encodes one PUBLISH. Returns the number of bytes.
    pub fn encode(channel: &[u8], payload: &[u8]) -> usize {
        black_box(redis::cmd("PUBLISH").arg(channel).arg(payload).get_packed_command()).len()
    }

    /// One blocking connection.
    pub struct Connection(redis::Connection);

    impl Connection {
        pub fn open(url: &str) -> Connection {
            let client = redis::Client::open(url).expect("an address");
            Connection(client.get_connection().expect("redis-rs cannot connect"))
        }

        /// Publishes `count` times, `depth` commands at a time.
        pub fn publish(&mut self, channel: &[u8], payload: &[u8], count: usize, depth: usize) {
            let mut left = count;
            while left > 0 {
                let batch = left.min(depth);
                let mut pipeline = redis::Pipeline::with_capacity(batch);
                for _ in 0..batch {
                    pipeline.cmd("PUBLISH").arg(channel).arg(payload).ignore();
                }
                pipeline.query::<()>(&mut self.0).expect("redis-rs cannot publish");
                left -= batch;
            }
        }
    }
}

//! Both formats behind the few calls that the writer makes.

use crate::eventlog::block::{self, BlockEncoder, Header};
use crate::eventlog::line;
use crate::eventlog::records::{PartInfo, Record, RecordFilter, Records};
use crate::eventlog::spec::Format;

/// Fills one part after the other.
pub(super) enum PartEncoder {
    Blocks(Box<BlockEncoder>),
    Lines(Lines),
}

#[derive(Default)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) info: PartInfo,
    pub(super) line: Vec<u8>,
    scratch: Vec<u8>,
}

impl PartEncoder {
    pub(super) fn new(format: Format) -> PartEncoder {
        match format {
            Format::Binary => PartEncoder::Blocks(Box::new(BlockEncoder::new())),
            Format::Json => PartEncoder::Lines(Lines::default()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            PartEncoder::Blocks(encoder) => encoder.len(),
            PartEncoder::Lines(lines) => lines.bytes.len(),
        }
    }

    pub(super) fn info(&self) -> PartInfo {
        match self {
            PartEncoder::Blocks(encoder) => *encoder.info(),
            PartEncoder::Lines(lines) => lines.info,
        }
    }

    /// The bytes of the part so far, ready to be written; to be given back by [`PartEncoder::restore`].
    pub(super) fn seal(&mut self) -> Vec<u8> {
        match self {
            PartEncoder::Blocks(encoder) => encoder.seal(),
            PartEncoder::Lines(lines) => std::mem::take(&mut lines.bytes),
        }
    }

    pub(super) fn restore(&mut self, bytes: Vec<u8>) {
        match self {
            PartEncoder::Blocks(encoder) => encoder.restore(bytes),
            PartEncoder::Lines(lines) => lines.bytes = bytes,
        }
    }

    /// Ends the part: its bytes.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        match self {
            PartEncoder::Blocks(encoder) => encoder.finish(),
            PartEncoder::Lines(lines) => {
                lines.info = PartInfo::default();
                std::mem::take(&mut lines.bytes)
            }
        }
    }

    /// Reads back what this encoder has written.
    pub(super) fn decode(&self, bytes: &[u8], filter: &RecordFilter<'_>, records: &mut Records) {
        match (self, Header::read(bytes)) {
            (PartEncoder::Blocks(_), Ok((header, sum))) => {
                block::decode(bytes, &header, sum, filter, records);
            }
            (PartEncoder::Lines(_), _) => {
                line::decode(bytes, filter, records);
            }
            // Not of this encoder.
            (PartEncoder::Blocks(_), Err(_)) => {}
        }
    }
}

impl Lines {
    /// Makes the line of a record, to be taken or not.
    pub(super) fn render(&mut self, time_ms: u64, seq: u64, channel: &[u8], payload: &[u8]) {
        self.line.clear();
        line::push(&mut self.line, &Record { time_ms, seq, channel, payload, raw: false }, &mut self.scratch);
    }

    pub(super) fn take(&mut self, time_ms: u64, seq: u64) {
        if self.info.records == 0 {
            self.info.first_seq = seq;
        }
        self.info.add(time_ms);
        self.bytes.extend_from_slice(&self.line);
    }
}

//! One encoder for both formats: the few calls with which the writer fills a part and reads it back. Runs on
//! `rt-files` and owns the bytes of the part that is being filled.

use crate::eventlog::block::{self, BlockEncoder, Header};
use crate::eventlog::line;
use crate::eventlog::records::{PartInfo, Record, RecordFilter, Records};
use crate::eventlog::spec::Format;

/// Fills one part after the other. `writer.rs` appends through the variants; the calls below are the same for both.
pub(super) enum PartEncoder {
    /// A block of a binary segment.
    Blocks(Box<BlockEncoder>),
    /// Some lines of JSON.
    Lines(Lines),
}

/// The part of JSON lines that is being filled.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) info: PartInfo,
    /// The line of the latest record. Its length decides whether it still belongs to this part.
    pub(super) line: Vec<u8>,
    scratch: Vec<u8>,
}

impl PartEncoder {
    /// An empty encoder of this format.
    pub(super) fn new(format: Format) -> PartEncoder {
        match format {
            Format::Binary => PartEncoder::Blocks(Box::new(BlockEncoder::new())),
            Format::Json => PartEncoder::Lines(Lines::default()),
        }
    }

    /// Bytes in the part so far.
    pub(super) fn len(&self) -> usize {
        match self {
            PartEncoder::Blocks(encoder) => encoder.len(),
            PartEncoder::Lines(lines) => lines.bytes.len(),
        }
    }

    /// Summary of the records in the part.
    pub(super) fn info(&self) -> PartInfo {
        match self {
            PartEncoder::Blocks(encoder) => *encoder.info(),
            PartEncoder::Lines(lines) => lines.info,
        }
    }

    /// Returns the bytes of the part so far, ready to be written. The caller gives them back with
    /// [`PartEncoder::restore`].
    pub(super) fn seal(&mut self) -> Vec<u8> {
        match self {
            PartEncoder::Blocks(encoder) => encoder.seal(),
            PartEncoder::Lines(lines) => std::mem::take(&mut lines.bytes),
        }
    }

    /// Takes back the bytes that [`PartEncoder::seal`] returned.
    pub(super) fn restore(&mut self, bytes: Vec<u8>) {
        match self {
            PartEncoder::Blocks(encoder) => encoder.restore(bytes),
            PartEncoder::Lines(lines) => lines.bytes = bytes,
        }
    }

    /// Ends the part and returns its bytes.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        match self {
            PartEncoder::Blocks(encoder) => encoder.finish(),
            PartEncoder::Lines(lines) => {
                lines.info = PartInfo::default();
                std::mem::take(&mut lines.bytes)
            }
        }
    }

    /// Decodes bytes that this encoder made, to encode their records again for another segment.
    pub(super) fn decode(&self, bytes: &[u8], filter: &RecordFilter<'_>, records: &mut Records) {
        match (self, Header::read(bytes)) {
            (PartEncoder::Blocks(_), Ok((header, sum))) => {
                block::decode(bytes, &header, sum, filter, records);
            }
            (PartEncoder::Lines(_), _) => {
                line::decode(bytes, filter, records);
            }
            // The bytes are not from this encoder.
            (PartEncoder::Blocks(_), Err(_)) => {}
        }
    }
}

impl Lines {
    /// Makes the line of a record without adding it to the part.
    pub(super) fn render(&mut self, time_ms: u64, seq: u64, channel: &[u8], payload: &[u8]) {
        self.line.clear();
        line::push(&mut self.line, &Record { time_ms, seq, channel, payload, raw: false }, &mut self.scratch);
    }

    /// Adds the rendered line to the part.
    pub(super) fn take(&mut self, time_ms: u64, seq: u64) {
        if self.info.records == 0 {
            self.info.first_seq = seq;
        }
        self.info.add(time_ms);
        self.bytes.extend_from_slice(&self.line);
    }
}

//! The picture: for each target with a peer one bar, the cost of ours as a share of the peer's. Pure.
//!
//! A page shows an SVG as an image, so the picture cannot know whether the page is light or dark: the background is
//! transparent, and every colour is readable on white and on black.

use std::fmt::Write;

use crate::tables::Row;

const WIDTH: usize = 920;
const ROW_HEIGHT: usize = 22;
const TOP: usize = 58;
/// Where the bars begin, and the length of a bar at the cost of the peer.
const LEFT: f64 = 430.0;
const PEER_LENGTH: f64 = 250.0;
/// A longer bar is cut: 1.4 times the cost of the peer.
const SHARE_MAX: f64 = 1.4;

const TEXT: &str = "#7d8590";
const PEER: &str = "#8b949e";
const MET: &str = "#2da44e";
const MISSED: &str = "#d4762c";

/// Rows without a ratio are left out.
pub(crate) fn draw(rows: &[Row<'_>]) -> String {
    let bars: Vec<_> = rows
        .iter()
        .filter_map(|(target, verdict)| {
            let verdict = verdict.as_ref()?;
            let (share, wanted) = target.shares(verdict)?;
            Some((target, verdict.is_met, share, wanted))
        })
        .collect();
    let height = TOP + bars.len() * ROW_HEIGHT + 12;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n\
         <title>Cost beside the peers, shorter is better</title>\n\
         <text x=\"8\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Cost beside the peers, measured in the same run: \
         shorter is better</text>\n\
         <text x=\"8\" y=\"42\">The grey line is the peer, the tick is the target.</text>\n"
    );
    for (at, (target, is_met, share, wanted)) in bars.iter().enumerate() {
        let y = TOP + at * ROW_HEIGHT;
        let peer = target.peer.as_deref().unwrap_or_default();
        let label = escaped(&format!("{}. {}", target.number, shortened(&target.text)));
        let colour = if *is_met { MET } else { MISSED };
        let length = share.min(SHARE_MAX) * PEER_LENGTH;
        let (text_y, tick) = (y + 13, LEFT + wanted.min(SHARE_MAX) * PEER_LENGTH);
        _ = writeln!(svg, "<text x=\"8\" y=\"{text_y}\">{label}</text>");
        _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>",
            y + 3
        );
        _ = writeln!(svg, "<path d=\"M{tick:.1} {}v18\" stroke=\"{TEXT}\" stroke-width=\"2\"/>", y);
        let end = LEFT + length.max(wanted.min(SHARE_MAX) * PEER_LENGTH).max(PEER_LENGTH) + 8.0;
        _ = writeln!(svg, "<text x=\"{end:.1}\" y=\"{text_y}\">{share:.2} of {}</text>", escaped(peer));
    }
    let (line, bottom) = (LEFT + PEER_LENGTH, height - 8);
    _ = writeln!(svg, "<path d=\"M{line} {}V{bottom}\" stroke=\"{PEER}\" stroke-dasharray=\"3 3\"/>", TOP - 6);
    svg.push_str("</svg>\n");
    svg
}

/// Texts longer than the room beside the bars end with an ellipsis.
fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 62;
    if text.chars().count() <= CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARACTERS_MAX - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Samples;
    use crate::targets;

    /// Walks the elements of a document and fails at the first that is not well-formed. Returns their names.
    fn elements(document: &str) -> Vec<String> {
        let (mut open, mut names, mut rest) = (Vec::new(), Vec::new(), document);
        while let Some(start) = rest.find('<') {
            let text = &rest[..start];
            assert!(!text.contains('>'), "{text:?}");
            let entities = text.split('&').skip(1);
            entities.for_each(|entity| assert!(entity.contains(';'), "{entity:?}"));
            let end = start + rest[start..].find('>').unwrap();
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let (name, attributes) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag, ""));
            names.push(name.to_owned());
            // Each attribute is a name, `=`, and a value between quotes.
            let pieces: Vec<&str> = attributes.split('"').collect();
            assert_eq!(pieces.len() % 2, 1, "{tag:?}");
            pieces
                .chunks_exact(2)
                .for_each(|pair| assert!(pair[0].ends_with('=') && pair[0].trim().len() > 1, "{tag:?}"));
            assert_eq!(pieces.last().unwrap().trim(), "", "{tag:?}");
            if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
        }
        assert_eq!(open, [""; 0]);
        assert_eq!(rest.trim(), "");
        names
    }

    #[test]
    fn the_picture_is_well_formed_and_has_a_bar_for_each_ratio() {
        let mut samples = Samples::default();
        for line in
            ["a\tours\t1\t10\tns", "a\t<&>\"\t1\t40\tns", "b\tours\t1\t5\tns", "c\tours\t1\t9\tns", "c\tx\t1\t2\tns"]
        {
            assert_eq!(samples.add(line), Ok(true));
        }
        let table = "1\ta\t<&>\"\tns\tlower\t>=3x\ta text of \"<&>\" and more than the room beside the bars has, so that it is cut\n\
                     2\tb\t-\tns\tlower\t<=3\tabsolute\n3\tc\tx\tns\tlower\t<=1x\tslow\n4\td\tx\tns\tlower\t<=1x\tgone";
        let rows = targets::read(table).unwrap();
        let judged: Vec<Row<'_>> = rows.iter().map(|target| (target, target.judge(&samples))).collect();
        let svg = draw(&judged);
        let names = elements(&svg);
        let count = |name: &str| names.iter().filter(|found| *found == name).count();
        assert_eq!((count("svg"), count("rect"), count("path")), (1, 2, 3), "{svg}");
        assert!(svg.contains("0.25 of &lt;&amp;&gt;&quot;"), "{svg}");
    }
}

//! An invoice as PDF (ISO 32000-1), on A4. It is set in Helvetica, which every reader has; what is not in its Latin alphabet (`WinAnsi`)
//! is shown as a question mark, and is whole on the web page.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};

use crate::core::sheet::Sheet;

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const LEFT: f32 = 56.0;
const RIGHT: f32 = 539.0;
const UNITS_AT: f32 = 380.0;
const TAX_AT: f32 = 434.0;
const FIRST: f32 = 780.0;
const LAST: f32 = 70.0;
const REGULAR: Name<'static> = Name(b"R");
const BOLD: Name<'static> = Name(b"B");
/// Widest name of a line, in points.
const NAME_WIDTH: f32 = 270.0;

/// Widths of Helvetica's printable ASCII, in thousandths of the size (Adobe's font metrics).
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278,
    278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722,
    667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556,
    556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// Text in `WinAnsi`, one byte a letter.
fn latin(text: &str) -> Vec<u8> {
    let byte = |c: char| match c {
        ' '..='~' => u8::try_from(c).unwrap_or(b'?'),
        '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).unwrap_or(b'?'),
        '€' => 0x80,
        '…' => 0x85,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '•' => 0x95,
        '–' => 0x96,
        '—' => 0x97,
        _ => b'?',
    };
    text.chars().map(byte).collect()
}

fn width(bytes: &[u8], size: f32) -> f32 {
    let of = |byte: &u8| usize::from(*byte).checked_sub(32).and_then(|at| WIDTHS.get(at)).copied().unwrap_or(556);
    bytes.iter().map(|byte| f32::from(of(byte))).sum::<f32>() * size / 1000.0
}

/// Text cut into lines no wider than this, at spaces where there are some.
fn wrapped(text: &str, size: f32, widest: f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let line = lines.last().cloned().unwrap_or_default();
            let joined = if line.is_empty() { rest.to_owned() } else { format!("{line} {rest}") };
            if width(&latin(&joined), size) <= widest {
                if let Some(last) = lines.last_mut() {
                    *last = joined;
                }
                break;
            }
            if line.is_empty() {
                let fits = rest
                    .char_indices()
                    .map(|(at, c)| at + c.len_utf8())
                    .take_while(|end| rest.get(..*end).is_some_and(|part| width(&latin(part), size) <= widest));
                let end = fits.last().unwrap_or(rest.len());
                let (part, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                if let Some(last) = lines.last_mut() {
                    *last = part.to_owned();
                }
                rest = after;
            }
            if !rest.is_empty() {
                lines.push(String::new());
            }
        }
    }
    lines
}

/// Pages being written.
struct Writer {
    pages: Vec<Content>,
    y: f32,
}

impl Writer {
    fn new() -> Self {
        Self { pages: vec![Content::new()], y: FIRST }
    }

    /// Moves down; onto a new page where this one is full.
    fn down(&mut self, by: f32) {
        self.y -= by;
        if self.y < LAST {
            self.pages.push(Content::new());
            self.y = FIRST;
        }
    }

    fn text(&mut self, font: Name<'_>, size: f32, x: f32, grey: f32, text: &str) {
        let y = self.y;
        if let Some(page) = self.pages.last_mut() {
            page.set_fill_gray(grey);
            page.begin_text();
            page.set_font(font, size);
            page.next_line(x, y);
            page.show(Str(&latin(text)));
            page.end_text();
        }
    }

    fn right(&mut self, font: Name<'_>, size: f32, x: f32, grey: f32, text: &str) {
        self.text(font, size, x - width(&latin(text), size), grey, text);
    }

    fn rule(&mut self, grey: f32) {
        let y = self.y;
        if let Some(page) = self.pages.last_mut() {
            page.set_stroke_gray(grey);
            page.set_line_width(0.6);
            page.move_to(LEFT, y);
            page.line_to(RIGHT, y);
            page.stroke();
        }
    }

    fn head(&mut self, sheet: &Sheet) {
        self.text(BOLD, 20.0, LEFT, 0.1, &sheet.title);
        self.down(34.0);
        let top = self.y;
        for line in &sheet.billed_to {
            for part in wrapped(line, 10.0, NAME_WIDTH) {
                self.text(REGULAR, 10.0, LEFT, 0.1, &part);
                self.down(14.0);
            }
        }
        let after = self.y;
        self.y = top;
        for (name, value) in &sheet.facts {
            self.text(REGULAR, 10.0, 400.0, 0.45, name);
            self.right(REGULAR, 10.0, RIGHT, 0.1, value);
            self.down(14.0);
        }
        self.y = self.y.min(after);
        self.down(22.0);
        self.text(REGULAR, 9.0, LEFT, 0.45, "What");
        self.right(REGULAR, 9.0, UNITS_AT, 0.45, "Units");
        self.right(REGULAR, 9.0, TAX_AT, 0.45, "Tax");
        self.right(REGULAR, 9.0, RIGHT, 0.45, "Amount");
        self.down(6.0);
        self.rule(0.7);
        self.down(16.0);
    }

    fn lines(&mut self, sheet: &Sheet) {
        for line in &sheet.lines {
            for (at, part) in wrapped(&line.name, 10.0, NAME_WIDTH).iter().enumerate() {
                if at > 0 {
                    self.down(13.0);
                }
                self.text(REGULAR, 10.0, LEFT, 0.1, part);
                if at == 0 {
                    self.right(REGULAR, 10.0, UNITS_AT, 0.1, &line.units);
                    self.right(REGULAR, 10.0, TAX_AT, 0.1, &line.tax);
                    self.right(REGULAR, 10.0, RIGHT, 0.1, &line.amount);
                }
            }
            for part in line.notes.iter().flat_map(|note| wrapped(note, 7.5, NAME_WIDTH)) {
                self.down(10.5);
                self.text(REGULAR, 7.5, LEFT, 0.45, &part);
            }
            self.down(18.0);
        }
        self.rule(0.7);
        self.down(18.0);
    }

    fn sums(&mut self, sheet: &Sheet) {
        for (at, (name, amount)) in sheet.sums.iter().enumerate() {
            let last = at + 1 == sheet.sums.len();
            let (font, size) = if last { (BOLD, 12.0) } else { (REGULAR, 10.0) };
            if last {
                self.down(6.0);
            }
            self.right(font, size, TAX_AT, 0.1, name);
            self.right(font, size, RIGHT, 0.1, amount);
            self.down(if last { 30.0 } else { 15.0 });
        }
        for part in sheet.proof.iter().flat_map(|line| wrapped(line, 8.0, RIGHT - LEFT)) {
            self.text(REGULAR, 8.0, LEFT, 0.45, &part);
            self.down(11.0);
        }
    }
}

/// The sheet as a PDF file.
#[must_use]
pub fn pdf(sheet: &Sheet) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.head(sheet);
    writer.lines(sheet);
    writer.sums(sheet);
    let count = i32::try_from(writer.pages.len()).unwrap_or(1);
    let (catalog, tree, regular, bold) = (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4));
    let page_at = |at: i32| Ref::new(5 + 2 * at);
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree);
    pdf.pages(tree).kids((0..count).map(page_at)).count(count);
    for (font, name) in [(regular, b"Helvetica".as_slice()), (bold, b"Helvetica-Bold".as_slice())] {
        pdf.type1_font(font).base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    for (at, mut content) in (0..count).zip(writer.pages) {
        let number = format!("{} / {count}", at + 1);
        content.set_fill_gray(0.45);
        content.begin_text();
        content.set_font(REGULAR, 8.0);
        content.next_line(RIGHT - width(&latin(&number), 8.0), 40.0);
        content.show(Str(&latin(&number)));
        content.end_text();
        let body = Ref::new(6 + 2 * at);
        let mut page = pdf.page(page_at(at));
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(body);
        page.resources().fonts().pair(REGULAR, regular).pair(BOLD, bold);
        page.finish();
        pdf.stream(body, &content.finish());
    }
    pdf.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sheet::SheetLine;

    #[test]
    fn a_long_invoice_has_as_many_pages_as_it_needs_and_all_its_lines() {
        let line = |at: usize| SheetLine {
            name: format!("Line {at}"),
            notes: vec!["x".repeat(300)],
            units: "1".to_owned(),
            tax: "-".to_owned(),
            amount: "1.00 EUR".to_owned(),
        };
        let sheet = Sheet {
            title: "Invoice".to_owned(),
            facts: vec![],
            billed_to: vec!["Ünïcode (\\) ✓".to_owned()],
            lines: (0..60).map(line).collect(),
            sums: vec![("To be paid".to_owned(), "60.00 EUR".to_owned())],
            proof: vec![],
        };
        let bytes = pdf(&sheet);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("%PDF-") && text.trim_end().ends_with("%%EOF"));
        assert_eq!(text.matches("(Line ").count(), 60);
        assert!(text.matches("/MediaBox").count() > 2, "{}", text.matches("/MediaBox").count());
    }

    #[test]
    fn text_is_cut_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three", 10.0, 45.0), ["one two", "three"]);
        assert!(wrapped(&"x".repeat(40), 10.0, 45.0).len() > 3);
        assert_eq!(latin("a€ü✓"), [b'a', 0x80, 0xfc, b'?']);
    }
}

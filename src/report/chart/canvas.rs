//! What charts draw on: one canvas over plotters' SVG and bitmap backends, so that both pictures come
//! from the same strokes. Text is measured, and in bitmaps drawn, with the font in `assets/`.

use std::sync::{Once, OnceLock};

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform, RGBColor, register_font};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};
use plotters_bitmap::BitMapBackend;

use super::{Mark, Shape};

/// Width of every chart in pixels.
pub const WIDTH: i32 = 800;
/// What charts leave free at both sides.
pub const MARGIN: i32 = 16;
/// Pixels of a bitmap for one of the picture, each way.
pub const DENSITY: u32 = 2;

/// The family that charts name. Its first member is the font that text is measured by; the second
/// has the same widths.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

static FONT: &[u8] = include_bytes!("../../../assets/DejaVuSans-latin.ttf");

/// Colours that people with colour blindness tell apart (Okabe & Ito 2008).
pub mod colour {
    use super::RGBColor;

    pub const BLUE: RGBColor = RGBColor(0, 114, 178);
    pub const SKY: RGBColor = RGBColor(86, 180, 233);
    pub const GREEN: RGBColor = RGBColor(0, 158, 115);
    pub const YELLOW: RGBColor = RGBColor(240, 228, 66);
    pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
    pub const RED: RGBColor = RGBColor(213, 94, 0);
    pub const PURPLE: RGBColor = RGBColor(204, 121, 167);
    pub const GREY: RGBColor = RGBColor(153, 153, 153);
    pub const INK: RGBColor = RGBColor(34, 34, 34);
    /// For words beside the point, still legible on white.
    pub const QUIET: RGBColor = RGBColor(102, 102, 102);
    pub const RULE: RGBColor = RGBColor(221, 221, 221);
    /// Where nothing can be.
    pub const NOTHING: RGBColor = RGBColor(240, 240, 240);
    pub const PAPER: RGBColor = RGBColor(255, 255, 255);
    /// Dark text on a coloured ground. Another colour than [`INK`], which a dark page replaces
    /// together with the paper.
    const INK_ON_COLOUR: RGBColor = RGBColor(17, 17, 17);

    /// Of dark and white, what text on this ground is read better in (contrast as WCAG 2.2 has it).
    pub fn ink_on(ground: RGBColor) -> RGBColor {
        let contrast = |ink| (luminance(ground) + 0.05) / (luminance(ink) + 0.05);
        match contrast(INK_ON_COLOUR) > 1.0 / contrast(PAPER) {
            true => INK_ON_COLOUR,
            false => PAPER,
        }
    }

    fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
        let linear = |channel: u8| match f64::from(channel) / 255.0 {
            dark @ ..0.04045 => dark / 12.92,
            light => ((light + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }
}

/// Why a stroke could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(String);

/// What drawing ends with.
pub type Drawn = Result<(), DrawingAreaErrorKind<BackendError>>;
/// An area of plotters' to draw on.
pub type Area<'a> = DrawingArea<Backend<'a>, Shift>;

/// A picture in the making. Coordinates are pixels from the upper left corner below the heading.
pub struct Canvas<'a> {
    area: Area<'a>,
    head: i32,
    marks: Vec<Mark>,
}

impl<'a> Canvas<'a> {
    /// A canvas below a heading of this height.
    pub fn new(root: &Area<'a>, head: i32) -> Self {
        let (_, area) = root.split_vertically(head);
        Self {
            area,
            head,
            marks: Vec::new(),
        }
    }

    /// The area, for plotters' own charts and elements.
    pub fn area(&self) -> &Area<'a> {
        &self.area
    }

    /// A pixel of the whole picture, as plotters' `backend_coord` gives it, as one of the canvas.
    pub fn local(&self, (x, y): (i32, i32)) -> (i32, i32) {
        (x, y - self.head)
    }

    /// A filled rectangle.
    pub fn rectangle(&self, corners: [(i32, i32); 2], colour: RGBColor) -> Drawn {
        self.area.draw(&Rectangle::new(corners, colour.filled()))
    }

    /// A line of this width through these points.
    pub fn line(&self, points: &[(i32, i32)], colour: RGBColor, width: u32) -> Drawn {
        let style = Color::stroke_width(&colour, width);
        self.area.draw(&PathElement::new(points.to_vec(), style))
    }

    /// A filled polygon.
    pub fn polygon(&self, corners: &[(i32, i32)], colour: RGBColor) -> Drawn {
        let polygon = Polygon::new(corners.to_vec(), colour.filled());
        self.area.draw(&polygon)
    }

    /// A filled circle.
    pub fn dot(&self, centre: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
        self.area
            .draw(&Circle::new(centre, radius, colour.filled()))
    }

    /// Words whose upper left corner is here.
    pub fn words(&self, words: impl Into<String>, at: (i32, i32), size: u32) -> Drawn {
        self.area.draw(&Text::new(words.into(), at, text(size)))
    }

    /// Words in a style of their own.
    pub fn styled(&self, words: &str, at: (i32, i32), style: TextStyle<'_>) -> Drawn {
        self.area.draw(&Text::new(words.to_owned(), at, style))
    }

    /// Swatches with names from left to right and on further lines, from `at` to the right margin.
    /// [`legend_height`] tells how much room they take.
    pub fn legend(&self, at: (i32, i32), entries: &[(impl AsRef<str>, RGBColor)]) -> Drawn {
        for (name, colour, (x, y)) in legend_places(at, entries) {
            self.rectangle([(x, y), (x + 12, y + 12)], colour)?;
            self.words(name, (x + 17, y), 12)?;
        }
        Ok(())
    }

    /// Words for when the pointer is over a rectangle.
    pub fn mark_area(&mut self, [(left, top), (right, bottom)]: [(i32, i32); 2], words: String) {
        let shape = Shape::Area {
            x: left,
            y: top + self.head,
            width: (right - left).max(1),
            height: (bottom - top).max(1),
        };
        self.mark(shape, &words);
    }

    /// Words for when the pointer is over a line segment.
    pub fn mark_line(&mut self, from: (i32, i32), to: (i32, i32), width: i32, words: String) {
        let down = |(x, y): (i32, i32)| (x, y + self.head);
        let shape = Shape::Line {
            from: down(from),
            to: down(to),
            width,
        };
        self.mark(shape, &words);
    }

    fn mark(&mut self, shape: Shape, words: &str) {
        let words = printable(words);
        self.marks.push(Mark { shape, words });
    }

    /// The marks, in the order in which they were made.
    pub fn into_marks(self) -> Vec<Mark> {
        self.marks
    }
}

type Placed = (String, RGBColor, (i32, i32));

fn legend_places(at: (i32, i32), entries: &[(impl AsRef<str>, RGBColor)]) -> Vec<Placed> {
    let (mut x, mut y) = at;
    let mut places = Vec::new();
    for (name, colour) in entries {
        let name = cut(name.as_ref(), 12, WIDTH - MARGIN - at.0 - 17);
        let width = 17 + width_of(&name, 12);
        if x > at.0 && x + width > WIDTH - MARGIN {
            (x, y) = (at.0, y + 18);
        }
        places.push((name, *colour, (x, y)));
        x += width + 20;
    }
    places
}

/// How much room a legend takes that begins this far from the left.
pub fn legend_height(left: i32, entries: &[(impl AsRef<str>, RGBColor)]) -> i32 {
    let places = legend_places((left, 0), entries);
    places.last().map_or(0, |(_, _, (_, y))| y + 18)
}

/// Text of this size in pixels.
pub fn text(size: u32) -> TextStyle<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // A font that cannot be read leaves text unmeasured, which drawing then reports.
        let _ = register_font(FAMILY, FontStyle::Normal, FONT);
    });
    // The SVG backend writes sizes divided by this.
    let size = f64::from(size) * PLOTTERS_SIZE;
    TextStyle::from((FAMILY, size).into_font()).color(&colour::INK)
}

/// plotters' font sizes are so many times those of SVG.
const PLOTTERS_SIZE: f64 = 1.24;

/// Text whose anchor is at its middle from left to right.
pub fn centred(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Center, VPos::Top))
}

/// Text whose anchor is at its right end.
pub fn rightwards(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Right, VPos::Top))
}

/// Text that reads from below to above.
pub fn upwards(size: u32) -> TextStyle<'static> {
    text(size).transform(FontTransform::Rotate270)
}

fn font() -> Option<&'static FontRef<'static>> {
    static PARSED: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    PARSED
        .get_or_init(|| FontRef::try_from_slice(FONT).ok())
        .as_ref()
}

/// A character's glyph, or that of a question mark where the font has none.
fn glyph_of(font: &FontRef<'_>, character: char) -> GlyphId {
    match font.glyph_id(character) {
        GlyphId(0) => font.glyph_id('?'),
        known => known,
    }
}

/// The scale at which an em has this many pixels.
fn scale_of(font: &FontRef<'_>, em: f32) -> PxScale {
    let units = font.units_per_em().unwrap_or(2048.0);
    PxScale::from(em * font.height_unscaled() / units)
}

/// How wide a text of this size is, in pixels.
pub fn width_of(words: &str, size: u32) -> i32 {
    let width = font().map_or(0.0, |font| advance(font, &printable(words), size as f32));
    width.ceil() as i32
}

fn advance(font: &FontRef<'_>, words: &str, em: f32) -> f32 {
    let scaled = font.as_scaled(scale_of(font, em));
    let advance = |character| scaled.h_advance(glyph_of(font, character));
    words.chars().map(advance).sum()
}

/// Words that fit into so many pixels, with an ellipsis where they were cut.
pub fn cut(words: &str, size: u32, room: i32) -> String {
    if width_of(words, size) <= room {
        return words.to_owned();
    }
    let mut kept = String::new();
    for character in words.chars() {
        if width_of(&format!("{kept}{character}…"), size) > room {
            break;
        }
        kept.push(character);
    }
    kept + "…"
}

/// Words on lines of so many pixels; a word that is longer than a line is cut.
pub fn lines_of(words: &str, size: u32, room: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        let word = cut(word, size, room);
        match lines.last_mut() {
            Some(line) if width_of(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Text without what is no character of a document, or would turn the direction of what follows.
pub fn printable(text: &str) -> String {
    let replaced = |character: char| match character {
        _ if character.is_control() => '\u{fffd}',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => character,
    };
    text.chars().map(replaced).collect()
}

/// plotters' backend for one of the formats.
pub enum Backend<'a> {
    /// Writes strokes as they are.
    Svg(SVGBackend<'a>),
    /// Paints them, [`DENSITY`] times as large.
    Bitmap(BitMapBackend<'a>),
}

/// A stroke's colour and width in a bitmap's pixels.
struct Stroke {
    colour: BackendColor,
    width: u32,
}

impl Stroke {
    fn of(style: &impl BackendStyle) -> Self {
        Self {
            colour: style.color(),
            width: style.stroke_width() * DENSITY,
        }
    }
}

impl BackendStyle for Stroke {
    fn color(&self) -> BackendColor {
        self.colour
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

fn dense((x, y): BackendCoord) -> BackendCoord {
    (x * DENSITY as i32, y * DENSITY as i32)
}

type Stroked = Result<(), DrawingErrorKind<BackendError>>;

fn failed<E: std::error::Error + Send + Sync>(
    error: DrawingErrorKind<E>,
) -> DrawingErrorKind<BackendError> {
    DrawingErrorKind::DrawingError(BackendError(error.to_string()))
}

impl DrawingBackend for Backend<'_> {
    type ErrorType = BackendError;

    fn get_size(&self) -> (u32, u32) {
        match self {
            Self::Svg(svg) => svg.get_size(),
            Self::Bitmap(bitmap) => {
                let (width, height) = bitmap.get_size();
                (width / DENSITY, height / DENSITY)
            }
        }
    }

    fn ensure_prepared(&mut self) -> Stroked {
        match self {
            Self::Svg(svg) => svg.ensure_prepared().map_err(failed),
            Self::Bitmap(bitmap) => bitmap.ensure_prepared().map_err(failed),
        }
    }

    fn present(&mut self) -> Stroked {
        match self {
            Self::Svg(svg) => svg.present().map_err(failed),
            Self::Bitmap(bitmap) => bitmap.present().map_err(failed),
        }
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Stroked {
        let (x, y) = point;
        self.draw_rect((x, y), (x + 1, y + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Stroked {
        match self {
            Self::Svg(svg) => svg.draw_line(from, to, style).map_err(failed),
            Self::Bitmap(bitmap) => bitmap
                .draw_line(dense(from), dense(to), &Stroke::of(style))
                .map_err(failed),
        }
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Stroked {
        let ((left, top), (right, bottom)) = (upper_left, bottom_right);
        match self {
            Self::Svg(svg) => svg
                .draw_rect(upper_left, bottom_right, style, fill)
                .map_err(failed),
            Self::Bitmap(bitmap) if fill => bitmap
                .draw_rect(dense(upper_left), dense(bottom_right), style, true)
                .map_err(failed),
            Self::Bitmap(_) => {
                let around = [
                    (left, top),
                    (right, top),
                    (right, bottom),
                    (left, bottom),
                    (left, top),
                ];
                self.draw_path(around, style)
            }
        }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Stroked {
        match self {
            Self::Svg(svg) => svg.draw_path(path, style).map_err(failed),
            Self::Bitmap(bitmap) => bitmap
                .draw_path(path.into_iter().map(dense), &Stroke::of(style))
                .map_err(failed),
        }
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Stroked {
        match self {
            Self::Svg(svg) => svg.draw_circle(center, radius, style, fill).map_err(failed),
            Self::Bitmap(bitmap) => bitmap
                .draw_circle(dense(center), radius * DENSITY, &Stroke::of(style), fill)
                .map_err(failed),
        }
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Stroked {
        match self {
            Self::Svg(svg) => svg.fill_polygon(corners, style).map_err(failed),
            Self::Bitmap(bitmap) => bitmap
                .fill_polygon(corners.into_iter().map(dense), style)
                .map_err(failed),
        }
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Stroked {
        let words = printable(text);
        match self {
            Self::Svg(svg) => svg.draw_text(&words, style, at).map_err(failed),
            Self::Bitmap(bitmap) => paint_text(bitmap, &words, style, at).map_err(failed),
        }
    }
}

/// Paints words where SVG puts them: at the same size, their line's top at the anchor as `dy` of
/// plotters' SVG backend has it.
fn paint_text<S: BackendTextStyle>(
    bitmap: &mut BitMapBackend<'_>,
    words: &str,
    style: &S,
    at: BackendCoord,
) -> Result<(), DrawingErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>> {
    let Some(font) = font() else {
        let unreadable = BackendError("the font cannot be read".to_owned());
        return Err(DrawingErrorKind::FontError(Box::new(unreadable)));
    };
    let em = (style.size() / PLOTTERS_SIZE) as f32 * DENSITY as f32;
    let scale = scale_of(font, em);
    let width = advance(font, words, em);
    let left = match style.anchor().h_pos {
        HPos::Left => 0.0,
        HPos::Center => -width / 2.0,
        HPos::Right => -width,
    };
    let baseline = match style.anchor().v_pos {
        VPos::Top => 0.76 * em,
        // Half the height of an x, and the same below: 0.547 em in DejaVu Sans.
        VPos::Center => 0.27 * em,
        VPos::Bottom => -0.27 * em,
    };
    let (turn, colour) = (style.transform(), style.color());
    let (at_x, at_y) = dense(at);
    let scaled = font.as_scaled(scale);
    let mut x = left;
    for character in words.chars() {
        let id = glyph_of(font, character);
        let glyph = id.with_scale_and_position(scale, point(x, baseline));
        x += scaled.h_advance(id);
        let Some(outline) = font.outline_glyph(glyph) else {
            continue;
        };
        let bounds = outline.px_bounds();
        let mut covered = Vec::new();
        outline.draw(|dx, dy, coverage| covered.push((dx as i32, dy as i32, coverage)));
        for (dx, dy, coverage) in covered {
            let alpha = colour.alpha * f64::from(coverage.min(1.0));
            let (dx, dy) = turn.transform(bounds.min.x as i32 + dx, bounds.min.y as i32 + dy);
            let shade = BackendColor { alpha, ..colour };
            bitmap.draw_pixel((at_x + dx, at_y + dy), shade)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_measures_every_character_that_charts_use() {
        assert!(width_of("message", 12) > 40);
        let wide = width_of("WWWW", 12);
        assert!(wide > width_of("iiii", 12) * 2, "widths are the font's own");
        let font = font().unwrap();
        for character in "µ…–—≤≥≠→×·₂ÄéABCabc0123456789,.%()/".chars() {
            assert_ne!(font.glyph_id(character).0, 0, "{character}");
        }
    }

    #[test]
    fn words_are_cut_and_wrapped_to_the_room_there_is() {
        assert_eq!(cut("short", 12, 200), "short");
        let long = "w".repeat(500);
        let cut = cut(&long, 12, 200);
        assert!(cut.ends_with('…') && width_of(&cut, 12) <= 200);
        let lines = lines_of(&format!("one two {long} three"), 12, 100);
        assert_eq!((lines[0].as_str(), lines[2].as_str()), ("one two", "three"));
        assert!(lines.iter().all(|line| width_of(line, 12) <= 100));
    }

    #[test]
    fn what_is_no_text_is_not_drawn() {
        assert_eq!(
            printable("a\u{1}b\u{202e}c\n"),
            "a\u{fffd}b\u{fffd}c\u{fffd}"
        );
        assert_eq!(printable("Ä→≤ <&>"), "Ä→≤ <&>");
    }
}

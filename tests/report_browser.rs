//! The page in a real browser.

mod common;
mod report_fixture;

use std::path::PathBuf;

use common::chromium::Chromium;
use common::have_tools;
use report_fixture::{empty, everything, faulty_run, hostile, one_protocol, page_of};
use serde_json::{Value, json};
use tempfile::TempDir;
use wirewatt::report::{Compared, html};

/// A folder with all kinds of pages.
struct Pages {
    folder: TempDir,
    names: Vec<&'static str>,
}

impl Pages {
    fn write() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, all) = (one_protocol(), everything());
        let run = |protocol, report| Compared {
            protocol,
            processes: Some(4),
            report,
        };
        let compared = [run("two-phase-commit", &one), run("redis", &all)];
        let mut names = Vec::new();
        for (name, page) in [
            ("empty", page_of(&empty())),
            ("one", page_of(&one)),
            ("everything", page_of(&all)),
            ("faulty", page_of(&faulty_run())),
            ("hostile", page_of(&hostile())),
            ("comparison", html::comparison(&compared).unwrap()),
        ] {
            std::fs::write(folder.path().join(format!("{name}.html")), page).unwrap();
            names.push(name);
        }
        Self { folder, names }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.html"))
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .map(|item| item.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn pages_load_without_a_complaint_and_ask_for_nothing() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    for name in &pages.names {
        let path = pages.path(name);
        browser.open(&path);
        // The policy names the script and the style by their hashes: a wrong one would stop them.
        let buttons = browser.evaluate("document.querySelectorAll('thead button').length");
        assert_eq!(buttons.as_u64() > Some(0), *name != "empty", "{name}");
        let color = browser.evaluate("getComputedStyle(document.body).maxWidth");
        assert_eq!(color, "992px", "{name}");
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
        let own = format!("file://{}", path.display());
        assert_eq!(browser.requests(), [own], "{name}");
    }
}

/// The policy is not only there, it holds.
#[test]
fn the_policy_stops_what_would_be_loaded_or_run() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let path = pages.path("one");
    let page = std::fs::read_to_string(&path).unwrap();
    let intruder =
        "<img src=\"file:///nowhere.png\"><script>document.title = 'run'</script></main>";
    std::fs::write(&path, page.replace("</main>", intruder)).unwrap();
    let mut browser = Chromium::start(1000, 800);
    browser.open(&path);
    assert_ne!(browser.evaluate("document.title"), "run");
    // They are asked for, and refused before anything is read.
    let complaints = browser.complaints();
    for policy in ["default-src 'none'", "script-src 'sha256-"] {
        let of = |complaint: &&String| complaint.contains(policy);
        assert!(
            complaints.iter().any(|one| of(&one)),
            "{policy}: {complaints:?}"
        );
    }
    assert_eq!(browser.evaluate("document.images[0].naturalWidth"), 0);
}

#[test]
fn names_from_a_capture_stay_text() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    browser.open(&pages.path("hostile"));
    let count = |browser: &mut Chromium, selector: &str| {
        browser.evaluate(&format!("document.querySelectorAll('{selector}').length"))
    };
    assert_eq!(count(&mut browser, "script"), 1);
    assert_eq!(count(&mut browser, "img, b, i, iframe, object, link"), 0);
    let handlers = browser.evaluate(
        "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes])
             .filter((a) => a.name.startsWith('on')).length",
    );
    assert_eq!(handlers, 0);
    // The names are there, letter by letter, and none turns a line around.
    let text = browser.evaluate("document.body.textContent");
    let text = text.as_str().unwrap();
    let name = "\"></script><img src=x onerror=alert(1)>'\\u{202e}&";
    assert!(text.matches(name).count() > 50, "{text}");
    assert!(!text.contains('\u{202e}'));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The words of a column of a table, from top to bottom, and how its heading says it is sorted.
fn column(browser: &mut Chromium, table: &str, column: usize) -> (Vec<String>, Value) {
    let of = format!(
        "[...[...document.querySelectorAll('main table')].find((table) =>
             table.caption.textContent === {}).tBodies[0].rows].map((row) => row.cells[{column}].innerText)",
        json!(table)
    );
    let words = browser.evaluate(&of);
    let sort = browser.evaluate(&format!(
        "[...document.querySelectorAll('main table')].find((table) =>
             table.caption.textContent === {}).tHead.rows[0].cells[{column}].getAttribute('aria-sort')",
        json!(table)
    ));
    (strings(&words), sort)
}

#[test]
fn tables_sort_by_click_and_by_keyboard() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    browser.open(&pages.path("everything"));
    let name = |browser: &mut Chromium, table: &str, n: usize| {
        // An id for what is clicked.
        browser.evaluate(&format!(
            "{{ const table = [...document.querySelectorAll('main table')].find((table) =>
                 table.caption.textContent === {});
               table.tHead.rows[0].cells[{n}].querySelector('button').id = 'button-{n}'; }}",
            json!(table)
        ));
        format!("#button-{n}")
    };

    // Grouped digits are numbers: 1,302 is more than 360.
    let table = "Packets by class";
    let written = ["360", "1,392", "780", "312"];
    let button = name(&mut browser, table, 2);
    assert_eq!(
        column(&mut browser, table, 2),
        (written.map(str::to_owned).into(), Value::Null)
    );
    browser.click(&button);
    let sorted = ["1,392", "780", "360", "312"];
    assert_eq!(
        column(&mut browser, table, 2),
        (sorted.map(str::to_owned).into(), json!("descending"))
    );
    browser.click(&button);
    let sorted = ["312", "360", "780", "1,392"];
    assert_eq!(
        column(&mut browser, table, 2),
        (sorted.map(str::to_owned).into(), json!("ascending"))
    );
    let foot = browser.evaluate("document.querySelector('tfoot th').innerText");
    assert_eq!(foot, "all", "the sum stays below");
    browser.click(&button);
    assert_eq!(
        column(&mut browser, table, 2),
        (written.map(str::to_owned).into(), Value::Null)
    );

    // Words, by keyboard.
    let button = name(&mut browser, table, 0);
    browser.evaluate(&format!("document.querySelector('{button}').focus()"));
    browser.press("Enter");
    let sorted = ["data", "handshake", "pure ACK", "teardown"];
    assert_eq!(
        column(&mut browser, table, 0),
        (sorted.map(str::to_owned).into(), json!("ascending"))
    );
    browser.press(" ");
    let sorted = ["teardown", "pure ACK", "handshake", "data"];
    assert_eq!(
        column(&mut browser, table, 0),
        (sorted.map(str::to_owned).into(), json!("descending"))
    );
    browser.press("Tab");
    browser.press("Enter");
    assert_eq!(
        column(&mut browser, table, 0).1,
        Value::Null,
        "one column sorts at a time"
    );
    let focused = browser.evaluate("document.activeElement.closest('th').cellIndex");
    assert_eq!(focused, 1);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// 860 µJ are less than 7.0 mJ, and what is no number comes last either way.
#[test]
fn figures_sort_by_their_value_whatever_their_unit() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    browser.open(&pages.path("everything"));
    let sorted = browser.evaluate(
        "(() => {
            const found = [];
            for (const table of document.querySelectorAll('main table')) {
                const headings = [...table.tHead.rows[0].cells];
                headings.forEach((heading, column) => {
                    const button = heading.querySelector('button');
                    if (!button || !heading.classList.contains('number')) return;
                    for (const sign of [-1, 1]) {
                        button.click();
                        const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
                        const values = cells.map((cell) => cell.dataset.value);
                        const numbers = values.filter((value) => value !== undefined).map(Number);
                        const rest = values.slice(numbers.length);
                        if (rest.some((value) => value !== undefined)) found.push('words before numbers');
                        numbers.forEach((value, i) => {
                            if (i > 0 && sign * (value - numbers[i - 1]) < 0)
                                found.push(`${heading.innerText}: ${cells.map((c) => c.innerText)}`);
                        });
                    }
                    button.click();
                });
            }
            return [found, document.querySelectorAll('td[data-value]').length];
        })()",
    );
    assert_eq!(sorted[0], json!([]));
    assert!(sorted[1].as_u64() > Some(100), "{sorted}");
}

/// What the tip says; null while it is hidden.
fn tip(browser: &mut Chromium) -> Value {
    browser.evaluate(
        "(() => { const tip = document.querySelector('.tip');
          return tip.hidden ? null : tip.textContent; })()",
    )
}

#[test]
fn parts_of_a_chart_tell_what_they_are() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    browser.open(&pages.path("one"));
    let words = browser.evaluate(
        "[...document.querySelector('.marks').children].map((mark) => mark.getAttribute('aria-label'))",
    );
    let words = strings(&words);
    assert!(
        words.len() > 2 && words.iter().all(|words| !words.is_empty()),
        "{words:?}"
    );
    assert_eq!(tip(&mut browser), Value::Null);

    browser.point_at(".marks > :nth-child(2)");
    assert_eq!(tip(&mut browser), json!(words[1]));
    browser.point_at("h1");
    assert_eq!(tip(&mut browser), Value::Null);

    // One stop a chart; arrow keys go on from there.
    let stops = "document.querySelector('.marks').querySelectorAll('[tabindex=\"0\"]').length";
    assert_eq!(browser.evaluate(stops), 1);
    browser.evaluate("document.querySelector('.marks [tabindex=\"0\"]').focus()");
    assert_eq!(tip(&mut browser), json!(words[0]));
    browser.press("ArrowRight");
    assert_eq!(tip(&mut browser), json!(words[1]));
    browser.press("End");
    assert_eq!(tip(&mut browser), json!(words[words.len() - 1]));
    browser.press("ArrowRight");
    assert_eq!(tip(&mut browser), json!(words[words.len() - 1]));
    browser.press("Home");
    assert_eq!(tip(&mut browser), json!(words[0]));
    browser.press("Escape");
    assert_eq!(tip(&mut browser), Value::Null);
    assert_eq!(browser.evaluate(stops), 1);

    // It stays in the window.
    for width in [360, 1000] {
        browser.resize(width, 800);
        browser.evaluate("document.querySelector('.marks > :last-child').focus()");
        let inside = browser.evaluate(
            "(() => { const box = document.querySelector('.tip').getBoundingClientRect();
              return box.left >= 0 && box.right <= innerWidth; })()",
        );
        assert_eq!(inside, true, "{width}");
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_page_is_whole_without_scripts() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    let shown = "[document.body.innerText, document.querySelectorAll('figure svg').length]";
    for name in &pages.names {
        browser.allow_scripts(true);
        browser.open(&pages.path(name));
        let with = browser.evaluate(shown);
        let marks = browser.evaluate("document.querySelectorAll('.marks > [aria-label]').length");
        browser.allow_scripts(false);
        browser.open(&pages.path(name));
        assert_eq!(
            browser.evaluate("document.querySelectorAll('button').length"),
            0
        );
        assert_eq!(browser.evaluate(shown), with, "{name}");
        let titles = browser.evaluate("document.querySelectorAll('.marks > * > title').length");
        assert_eq!(
            titles, marks,
            "{name}: the pointer is told by the browser itself"
        );
    }
}

/// The lowest contrast of any text with what it stands on, by WCAG 2.2.
const CONTRAST: &str = "(() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const over = (top, below) => {
        const alpha = top.length > 3 ? top[3] : 1;
        return [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha));
    };
    const luminance = (color) => {
        const [r, g, b] = color.map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const below = element.parentElement ? ground(element.parentElement) : [255, 255, 255];
        return over(channels(getComputedStyle(element).backgroundColor), below);
    };
    const paint = (svgText) => {
        // What is painted below the middle of the text in the same picture.
        svgText.scrollIntoView({block: 'center', inline: 'center'});
        const box = svgText.getBoundingClientRect();
        const at = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        const shapes = at.filter((e) => e.matches('.picture [role=img] :is(rect, path, polygon, circle)'));
        let color = ground(svgText.closest('.picture'));
        for (const shape of shapes.reverse()) {
            const style = getComputedStyle(shape);
            if (style.fill === 'none') continue;
            const fill = channels(style.fill);
            const opacity = (fill.length > 3 ? fill[3] : 1) * style.opacity * style.fillOpacity;
            color = over([...fill.slice(0, 3), opacity], color);
        }
        return color;
    };
    let worst = {ratio: 100};
    const judge = (element, color, below) => {
        const [one, other] = [luminance(over(color, below)), luminance(below)];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (ratio < worst.ratio)
            worst = {ratio, text: element.textContent.trim().slice(0, 60), color, below};
    };
    for (const style of document.querySelectorAll('.marks')) style.style.display = 'none';
    for (const element of document.querySelectorAll('body *')) {
        if (element.matches('script, .marks *, svg title, svg desc')) continue;
        const words = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim() !== '');
        if (!words) continue;
        const style = getComputedStyle(element);
        if (element.matches('svg *')) judge(element, channels(style.fill), paint(element));
        else judge(element, channels(style.color), ground(element));
    }
    return worst;
})()";

#[test]
fn text_stands_out_in_light_and_in_dark() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1300, 800);
    for dark in [false, true] {
        browser.prefer_dark(dark);
        for name in &pages.names {
            browser.open(&pages.path(name));
            let paper = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            let expected = if dark {
                "rgb(20, 23, 28)"
            } else {
                "rgb(255, 255, 255)"
            };
            assert_eq!(paper, expected, "{name}");
            let worst = browser.evaluate(CONTRAST);
            let ratio = worst["ratio"].as_f64().unwrap();
            assert!(ratio >= 4.5, "{name}, dark: {dark}: {worst}");
        }
    }
}

#[test]
fn nothing_is_wider_than_the_window() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1400, 800);
    for name in &pages.names {
        browser.open(&pages.path(name));
        for width in [1400, 1000, 800, 360] {
            browser.resize(width, 800);
            browser.rendered();
            let page = browser.evaluate("document.documentElement.scrollWidth");
            assert!(
                page.as_u64() <= Some(width.into()),
                "{name}: {page} in {width}"
            );
        }
        // What is too wide scrolls inside, by keyboard too.
        let boxes = browser.evaluate(
            "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)
                 .every((box) => box.tabIndex === 0)",
        );
        assert_eq!(boxes, true, "{name}");
    }
}

#[test]
fn everything_has_a_name_for_those_who_do_not_see_it() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    for name in &pages.names {
        browser.open(&pages.path(name));
        let wrong = browser.evaluate(
            "(() => {
                const wrong = [];
                const all = (selector) => [...document.querySelectorAll(selector)];
                if (document.documentElement.lang !== 'en') wrong.push('no language');
                for (const landmark of ['header', 'nav[aria-label]', 'main', 'footer', 'h1'])
                    if (all(landmark).length !== 1) wrong.push(`not one ${landmark}`);
                const ids = all('[id]').map((e) => e.id);
                if (new Set(ids).size !== ids.length) wrong.push(`ids: ${ids}`);
                for (const e of all('[aria-labelledby]'))
                    if (!document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim())
                        wrong.push(`no label: ${e.outerHTML.slice(0, 80)}`);
                for (const a of all('a'))
                    if (!document.querySelector(a.getAttribute('href'))) wrong.push(a.href);
                for (const table of all('table')) {
                    if (!table.caption.textContent.trim()) wrong.push('no caption');
                    for (const th of table.querySelectorAll('th'))
                        if (th.scope !== (th.closest('thead') ? 'col' : 'row')) wrong.push('no scope');
                    const widths = new Set([...table.rows].map((row) => row.cells.length));
                    if (widths.size !== 1) wrong.push('rows of different lengths');
                }
                for (const figure of all('figure')) {
                    if (!figure.querySelector('figcaption')?.textContent.trim()) wrong.push('no figcaption');
                    if (!(figure.querySelector('[role=img]')?.getAttribute('aria-label').length > 20))
                        wrong.push('a picture without words');
                }
                let level = 1;
                for (const heading of all('h1, h2, h3, h4')) {
                    const own = Number(heading.tagName[1]);
                    if (own > level + 1) wrong.push(`a level left out before ${heading.innerText}`);
                    level = own;
                }
                for (const e of all('[tabindex]')) if (e.tabIndex > 0) wrong.push('an order of its own');
                return wrong;
            })()",
        );
        assert_eq!(wrong, json!([]), "{name}");
        // And so the browser tells screen readers.
        let tree = browser.call("Accessibility.getFullAXTree", json!({}));
        for node in tree["nodes"].as_array().unwrap() {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            let named = [
                "image",
                "img",
                "button",
                "table",
                "region",
                "link",
                "columnheader",
            ];
            if named.contains(&role) && node["ignored"] != true {
                let words = node["name"]["value"].as_str().unwrap_or_default();
                assert!(!words.trim().is_empty(), "{name}: {node}");
            }
        }
    }
}

#[test]
fn a_page_prints() {
    if !have_tools(&["chromium"]) {
        return;
    }
    let pages = Pages::write();
    let mut browser = Chromium::start(1000, 800);
    browser.prefer_dark(true);
    browser.open(&pages.path("everything"));
    let features = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
    let print = json!({"media": "print", "features": features});
    browser.call("Emulation.setEmulatedMedia", print);
    let printed = browser.evaluate(
        "(() => {
            const style = (selector, before) => getComputedStyle(document.querySelector(selector), before);
            return [style('nav').display, style('thead button', '::after').display,
                    style('tr').breakInside, style('figure').breakInside, style('thead').display,
                    style('.scroll').overflow, style('body').color];
        })()",
    );
    let expected = [
        "none",
        "none",
        "avoid",
        "avoid",
        "table-header-group",
        "visible",
        "rgb(28, 33, 40)",
    ];
    assert_eq!(printed, json!(expected));
    let pdf = browser.pdf();
    assert!(pdf.starts_with(b"%PDF-"), "{} bytes", pdf.len());
    assert!(pdf.len() > 20_000, "{} bytes", pdf.len());
    if let Some(folder) = std::env::var_os("REPORT_PICTURES") {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("everything.pdf"), pdf).unwrap();
        for (mode, dark) in [("light", false), ("dark", true)] {
            browser.call("Emulation.setEmulatedMedia", json!({"media": ""}));
            browser.prefer_dark(dark);
            for width in [800, 1400] {
                browser.resize(width, 900);
                let name = format!("everything-{width}-{mode}.png");
                std::fs::write(folder.join(name), browser.screenshot()).unwrap();
            }
        }
    }
}

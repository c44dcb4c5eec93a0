
"use strict";
// Sorts tables by their headings and shows what a chart's parts are. The page is whole without it.
(() => {
  const compare = new Intl.Collator("en", { numeric: true }).compare;

  // What a cell is sorted by: its number where it has one, else its words.
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };

  // Numbers before words, and words such as "no range" last in either direction.
  const order = (one, other, sign) => {
    const numbers = (typeof other === "number") - (typeof one === "number");
    if (numbers !== 0) return numbers;
    return sign * (typeof one === "number" ? one - other : compare(one, other));
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    const written = [...body.rows];
    if (written.length < 2 || table.classList.contains("as-written")) return;
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        // Numbers begin with the most, words with A; the third time is as written.
        const numeric = heading.classList.contains("number");
        const steps = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
        const next = steps[steps.indexOf(heading.getAttribute("aria-sort")) + 1];
        for (const other of headings) other.removeAttribute("aria-sort");
        table.classList.toggle("is-sorted", next !== undefined);
        if (next === undefined) {
          body.append(...written);
          return;
        }
        heading.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const keys = new Map(written.map((row) => [row, key(row, column)]));
        body.append(...[...written].sort((a, b) => order(keys.get(a), keys.get(b), sign)));
      });
    });
  };

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // The marks' own labels say the same.
  document.body.append(tip);

  const show = (mark) => {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const left = at.left + at.width / 2 - tip.offsetWidth / 2;
    const edge = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${scrollX + Math.max(8, Math.min(left, edge))}px`;
    tip.style.top = `${scrollY + (above < 4 ? at.bottom + 8 : above)}px`;
  };
  const hide = () => { tip.hidden = true; };

  // One stop for the tabulator a chart; arrow keys go from part to part.
  const explorable = (picture) => {
    const marks = [...picture.children].filter((mark) => mark.querySelector("title"));
    if (marks.length === 0) return;
    let current = marks[0];
    const makeCurrent = (mark) => {
      current.tabIndex = -1;
      current = mark;
      current.tabIndex = 0;
    };
    for (const mark of marks) {
      // With a title left in it, browsers would show both.
      const title = mark.querySelector("title");
      mark.setAttribute("aria-label", title.textContent);
      title.remove();
      mark.setAttribute("role", "img");
      mark.tabIndex = -1;
      mark.addEventListener("pointerenter", () => show(mark));
      mark.addEventListener("pointerleave", hide);
      mark.addEventListener("focus", () => { makeCurrent(mark); show(mark); });
      mark.addEventListener("blur", hide);
    }
    current.tabIndex = 0;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    picture.addEventListener("keydown", (event) => {
      const place = marks.indexOf(current);
      const last = marks.length - 1;
      let next;
      if (event.key in steps) next = Math.max(0, Math.min(last, place + steps[event.key]));
      else if (event.key === "Home") next = 0;
      else if (event.key === "End") next = last;
      else return;
      event.preventDefault();
      marks[next].focus();
    });
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // What scrolls can be scrolled by keyboard.
  const scrollable = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };

  document.querySelectorAll("main table").forEach(sortable);
  document.querySelectorAll(".marks").forEach(explorable);
  addEventListener("resize", scrollable);
  scrollable();
})();

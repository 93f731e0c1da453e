"use strict";
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  const key = (row, place) => row.cells[place].dataset.value ?? row.cells[place].textContent;
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [key(row, place), row]);
      const numbers = rows.every(([value]) => value !== "" && !Number.isNaN(Number(value)));
      rows.sort(([a], [b]) => (numbers ? a - b : a.localeCompare(b)));
      if (!up) rows.reverse();
      body.append(...rows.map(([, row]) => row));
    });
  });
}

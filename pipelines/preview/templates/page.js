"use strict";
(() => {
  const table = document.querySelector("table.failures");
  if (!table) return;
  const [body, rest] = table.tBodies;
  const rows = [...body.rows, ...(rest ? rest.rows : [])];
  const step = Number(table.dataset.atOnce);
  const more = document.getElementById("more");
  const field = document.getElementById("filter");
  const told = document.querySelector("output");
  let found = rows;
  let limit = step;

  // Only what is shown stays in the document, so that tens of thousands of rows cost no layout.
  const show = () => {
    body.replaceChildren(...found.slice(0, limit));
    const left = found.length - body.rows.length;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(step, left).toLocaleString("en")} of ${left.toLocaleString("en")} more`;
    if (told) told.textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
  };

  if (rest) rest.remove();
  more.addEventListener("click", () => {
    limit += step;
    show();
  });
  if (field) {
    const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    field.parentElement.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = rows.filter((_, index) => words.every((word) => texts[index].includes(word)));
      limit = step;
      show();
    });
  }
  show();
})();

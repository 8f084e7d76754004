// Draws the live chart of every .vl-chart over its picture. The picture stays where scripts do not run or drawing fails.
(function () {
  "use strict";
  function draw(box) {
    var spec = JSON.parse(box.querySelector(".vl-spec").textContent);
    var picture = box.querySelector(".vl-static");
    var live = document.createElement("div");
    live.className = "vl-live";
    box.appendChild(live);
    var actions = {export: true, source: false, compiled: false, editor: false};
    window.vegaEmbed(live, spec, {renderer: "svg", actions: actions}).then(function () {
      live.querySelectorAll("summary").forEach(function (node) { node.setAttribute("aria-label", "Save the chart"); });
      picture.hidden = true;
      box.classList.add("vl-drawn");
      box.appendChild(numbers(spec));
      // Vega measures its container when the window is resized. The container also changes without that: when the picture goes,
      // when a sidebar folds, after printing.
      new ResizeObserver(function () { window.dispatchEvent(new Event("resize")); }).observe(live);
    }).catch(function (error) {
      live.remove();
      console.error(error);
    });
  }
  // What the chart draws, as tables that open: one for all rows with the same columns.
  function numbers(spec) {
    var box = element("details", "");
    box.className = "vl-numbers";
    box.appendChild(element("summary", "Numbers in this chart"));
    box.addEventListener("toggle", function () {
      if (box.children.length > 1) { return; }
      var scroll = element("div", "");
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", "Numbers in the chart: " + spec.description);
      var across = (spec.layer || [spec]).map(function (layer) { return ((layer.encoding || {}).x || {}).field; });
      tables(spec).forEach(function (rows) { scroll.appendChild(table(rows, across)); });
      box.appendChild(scroll);
    });
    return box;
  }
  function tables(spec) {
    var found = {};
    var sets = Object.values(spec.datasets || {}).concat(spec.data && spec.data.values ? [spec.data.values] : []);
    sets.flat().forEach(function (row) {
      var columns = Object.keys(row).join();
      found[columns] = found[columns] || new Map();
      found[columns].set(JSON.stringify(row), row);
    });
    // A single row is a line at a threshold or a label, which the description or the text names.
    return Object.values(found).map(function (rows) { return [...rows.values()]; }).filter(function (rows) { return rows.length > 1; });
  }
  // First what the horizontal axis shows, last the ends of the interval.
  function table(rows, across) {
    function place(name) { return across.includes(name) ? 0 : name.endsWith("low") ? 2 : name.endsWith("high") ? 3 : 1; }
    var made = element("table", ""), columns = Object.keys(rows[0]).sort(function (a, b) { return place(a) - place(b); });
    var head = made.createTHead().insertRow();
    columns.forEach(function (name) {
      var cell = element("th", name);
      cell.scope = "col";
      head.appendChild(cell);
    });
    var body = made.createTBody();
    rows.forEach(function (row) {
      var line = body.insertRow();
      columns.forEach(function (name) {
        var value = row[name];
        line.insertCell().textContent = typeof value === "number" ? String(Number(value.toPrecision(4))) : value === null ? "" : value;
      });
    });
    return made;
  }
  function element(name, text) {
    var made = document.createElement(name);
    made.textContent = text;
    return made;
  }
  function drawAll() { document.querySelectorAll(".vl-chart").forEach(draw); }
  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", drawAll); } else { drawAll(); }
})();

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
    // Sliders and buttons of a chart that responds stand above it; what it says is read out when they are moved.
    var inputs = (spec.params || []).some(function (param) { return param.bind; }), view = null, width = 0, margin = 60;
    var panels = spec.vconcat || spec.hconcat, controls = element("form", ""), said = element("p", "");
    if (inputs) {
      controls.className = "vl-controls";
      controls.addEventListener("submit", function (event) { event.preventDefault(); });
      said.className = "vl-said";
      said.setAttribute("role", "status");
      box.insertBefore(controls, live);
      box.appendChild(said);
    }
    function embed() {
      width = box.clientWidth;
      var options = {renderer: "svg", actions: actions, bind: inputs ? controls : undefined};
      return window.vegaEmbed(live, fitted(spec, width, margin, view), options).then(function (result) {
        if (view) { view.finalize(); }
        view = result.view;
        live.querySelectorAll("summary").forEach(function (node) { node.setAttribute("aria-label", "Save the chart"); });
        if (inputs) { view.addSignalListener("spoken", function (_, text) { said.textContent = text; }); }
        var over = live.querySelector("svg").getBoundingClientRect().width - width;
        if (panels && over > 0 && margin < 150) {
          margin += Math.ceil(over / 2);
          return embed();
        }
      });
    }
    embed().then(function () {
      picture.hidden = true;
      box.classList.add("vl-drawn");
      box.appendChild(numbers(spec));
      // Vega measures its container when the window is resized. The container also changes without that: when the picture goes,
      // when a sidebar folds, after printing. Panels side by side have no container: they are drawn anew.
      new ResizeObserver(function () {
        if (!panels) { window.dispatchEvent(new Event("resize")); }
        else if (box.clientWidth && Math.abs(box.clientWidth - width) > 1) { embed(); }
      }).observe(live);
    }).catch(function (error) {
      live.remove();
      controls.remove();
      console.error(error);
    });
  }
  // Panels fill the width, less the margin for the axis of each: side by side where there is room, else one below the other. What a
  // reader has set stays.
  function fitted(spec, width, margin, view) {
    var made = JSON.parse(JSON.stringify(spec));
    if (view) { (made.params || []).forEach(function (param) { if (param.bind) { param.value = view.signal(param.name); } }); }
    if (made.vconcat || made.hconcat) { share(made, width, margin); }
    return made;
  }
  function share(part, room, margin) {
    if (part.hconcat && room < 560) {
      part.vconcat = part.hconcat;
      delete part.hconcat;
    }
    var across = part.hconcat ? part.hconcat.length : 1;
    (part.hconcat || part.vconcat || []).forEach(function (panel) { share(panel, room / across - 8 * (across - 1), margin); });
    if (!part.hconcat && !part.vconcat) { part.width = Math.floor(room - margin); }
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

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
      // Vega measures its container when the window is resized. The container also changes without that: when the picture goes,
      // when a sidebar folds, after printing.
      new ResizeObserver(function () { window.dispatchEvent(new Event("resize")); }).observe(live);
    }).catch(function (error) {
      live.remove();
      console.error(error);
    });
  }
  function drawAll() { document.querySelectorAll(".vl-chart").forEach(draw); }
  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", drawAll); } else { drawAll(); }
})();

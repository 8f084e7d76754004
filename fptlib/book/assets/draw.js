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
      // The width of the container is measured while the picture is still there; measure again without it.
      window.dispatchEvent(new Event("resize"));
    }).catch(function (error) {
      live.remove();
      console.error(error);
    });
  }
  function drawAll() { document.querySelectorAll(".vl-chart").forEach(draw); }
  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", drawAll); } else { drawAll(); }
})();

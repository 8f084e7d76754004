// Reading with a keyboard and on paper.
(function () {
  "use strict";
  // What scrolls can be reached with the tabulator; the theme does the same for code and for the output of cells.
  function reach() {
    document.querySelectorAll(".pst-scrollable-table-container").forEach(function (box) {
      box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
    });
    document.querySelectorAll(".bd-sidebar-primary details > summary").forEach(function (node) {
      node.setAttribute("aria-label", "Pages below");
    });
  }
  window.addEventListener("load", reach);
  window.addEventListener("resize", reach);
  // Paper is white.
  var theme = null;
  window.addEventListener("beforeprint", function () {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
  });
  window.addEventListener("afterprint", function () {
    if (theme) { document.documentElement.dataset.theme = theme; }
  });
})();

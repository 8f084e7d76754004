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
  // What has more on its right shows that.
  var wide = ".bd-article :is(pre, .output.text_html, .pst-scrollable-table-container, mjx-container[display='true'], .vl-numbers > div)";
  function fade(box) {
    box.classList.toggle("fpt-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    if (box.scrollWidth > box.clientWidth) { box.tabIndex = 0; }
  }
  function watch() {
    document.querySelectorAll(wide).forEach(function (box) {
      if (!box.fptWatched) {
        box.fptWatched = true;
        box.addEventListener("scroll", function () { fade(box); }, {passive: true});
        new ResizeObserver(function () { fade(box); }).observe(box);
      }
      fade(box);
    });
  }
  document.addEventListener("toggle", watch, true);
  window.addEventListener("load", function () {
    reach();
    watch();
    if (window.MathJax && MathJax.startup) { MathJax.startup.promise.then(watch); }
  });
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

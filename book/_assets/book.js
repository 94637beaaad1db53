// Widgets typeset their labels through MathJax 2; the book has MathJax 3. This answers the one call they make.
const version2 = {
  Queue: ([, , element]) => MathJax.startup?.promise.then(() => MathJax.typesetPromise([element])),
};

// Names the controls for screen readers: the visible label, and the value shown beside a slider.
const nameControls = () => {
  for (const widget of document.querySelectorAll(".widget-slider, .widget-dropdown")) {
    const control = widget.querySelector(".noUi-handle, select");
    const names = { "aria-label": ".widget-label", "aria-valuetext": ".widget-readout" };
    for (const [name, selector] of Object.entries(names)) {
      const text = widget.querySelector(selector)?.textContent;
      if (control && text && control.getAttribute(name) !== text) control.setAttribute(name, text);
    }
  }
};

// A box that scrolls sideways takes the keyboard; it scrolls on a narrow screen alone.
const reachBoxes = () => {
  for (const box of document.querySelectorAll("figure.mtlrepro, .jupyter-widgets .widget-html-content")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};

// Folds are named by what they say; those of the table of contents say nothing.
const nameFolds = () => {
  for (const fold of document.querySelectorAll('summary[aria-label="Toggle hidden content"]')) {
    fold.removeAttribute("aria-label");
  }
  for (const fold of document.querySelectorAll(".bd-sidebar summary")) {
    fold.setAttribute("aria-label", `Pages below ${fold.closest("li").querySelector("a").textContent.trim()}`);
  }
};

// Deferred scripts such as MathJax have run by now, and widgets are drawn later, on load.
document.addEventListener("DOMContentLoaded", () => {
  nameFolds();
  for (const event of ["load", "resize"]) window.addEventListener(event, reachBoxes);
  if (!document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')) return;
  if (window.MathJax) window.MathJax.Hub = version2;
  const drawn = () => {
    nameControls();
    reachBoxes();
  };
  new MutationObserver(drawn).observe(document.body, { childList: true, subtree: true, characterData: true });
});

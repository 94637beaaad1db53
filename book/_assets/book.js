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

// Deferred scripts such as MathJax have run by now, and widgets are drawn later, on load.
document.addEventListener("DOMContentLoaded", () => {
  if (!document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')) return;
  if (window.MathJax) window.MathJax.Hub = version2;
  new MutationObserver(nameControls).observe(document.body, { childList: true, subtree: true, characterData: true });
});

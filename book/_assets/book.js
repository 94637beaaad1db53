// Names the widgets' controls for screen readers: the visible label, and the value shown beside a slider.
const nameControls = () => {
  for (const widget of document.querySelectorAll(".widget-slider, .widget-dropdown")) {
    const label = widget.querySelector(".widget-label")?.textContent;
    const control = widget.querySelector(".noUi-handle, select");
    const value = widget.querySelector(".widget-readout")?.textContent;
    if (label && control) control.setAttribute("aria-label", label);
    if (value && control && control.getAttribute("aria-valuetext") !== value) {
      control.setAttribute("aria-valuetext", value);
    }
  }
};

if (document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')) {
  new MutationObserver(nameControls).observe(document.body, { childList: true, subtree: true, characterData: true });
}

// Copy buttons, and a log that stays at its end. Everything else works without this file.
"use strict";

function show(root) {
  for (const button of root.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const label = button.firstElementChild;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    label.textContent = "Copied";
  } catch {
    const line = button.previousElementSibling;
    getSelection().selectAllChildren(line);
    label.textContent = "Selected";
  }
  setTimeout(() => { label.textContent = "Copy"; }, 1500);
});

const LINES_MAX = 2000;
for (const frame of document.querySelectorAll("[data-follow]")) {
  const list = frame.querySelector("ol");
  let atEnd = true;
  frame.addEventListener("scroll", () => {
    atEnd = frame.scrollHeight - frame.scrollTop - frame.clientHeight < 160;
  }, { passive: true });
  new MutationObserver(() => {
    while (list.childElementCount > LINES_MAX) list.firstElementChild.remove();
    if (atEnd) frame.scrollTop = frame.scrollHeight;
  }).observe(list, { childList: true });
}

show(document);
new MutationObserver(() => show(document)).observe(document.getElementById("content"), {
  childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"],
});

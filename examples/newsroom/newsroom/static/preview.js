// The preview follows the writing; without this script the Preview button does the same.
const form = document.getElementById("writing");
const frame = document.querySelector("iframe.preview");
let timer = 0;

async function show() {
  const sent = new URLSearchParams(new FormData(form));
  const answer = await fetch(form.dataset.preview, { method: "POST", body: sent });
  if (!answer.ok) return;
  const text = await answer.text();
  const old = frame.contentWindow;
  const place = old ? old.scrollY : 0;
  frame.onload = () => frame.contentWindow.scrollTo(0, place);
  frame.srcdoc = text;
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, 400);
});
show();

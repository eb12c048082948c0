"use strict";
// A cell of the table leads to what it stands for, which may be folded.
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let element = target; element; element = element.parentElement) {
    if (element instanceof HTMLDetailsElement) element.open = true;
  }
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
for (const link of document.querySelectorAll('a[href^="#"]')) {
  // A second time, the hash does not change.
  link.addEventListener("click", () => setTimeout(reveal));
}
reveal();

"use strict";
// Only comfort: words below a chart as the pointer moves, and a button that copies. Everything is readable without.
for (const chart of document.querySelectorAll(".chart")) {
  const told = chart.querySelector(".told");
  const tell = (event) => {
    const column = event.target.closest(".column");
    if (column) told.textContent = column.getAttribute("aria-label");
  };
  chart.addEventListener("pointerover", tell);
  chart.addEventListener("focusin", tell);
}
for (const command of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.className = "copy";
  button.type = "button";
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "selected: press Ctrl-C";
    }
  });
  command.before(button);
}

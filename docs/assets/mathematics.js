// Typesets what arithmatex has marked, with the copy of KaTeX that the site ships.
document.addEventListener("DOMContentLoaded", () => {
  for (const one of document.querySelectorAll(".arithmatex")) {
    renderMathInElement(one, {
      delimiters: [
        { left: "\\(", right: "\\)", display: false },
        { left: "\\[", right: "\\]", display: true },
      ],
      throwOnError: true,
    });
  }
});

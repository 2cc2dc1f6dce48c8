// Says why nothing happens when page.js cannot: browsers load no modules from a disk, and a server may lack a file.

addEventListener("error", ({ target }) => {
  if (!(target instanceof HTMLScriptElement)) return;
  const message = location.protocol === "file:"
    ? "Browsers run this page only from a server. In its folder, run: python -m http.server; then open http://localhost:8000"
    : "A script of this page could not be loaded; check that the server has the whole folder, and load the page again.";
  const show = () => {
    const problem = document.getElementById("problem");
    problem.textContent = message;
    problem.hidden = false;
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", show);
  else show();
}, true); // such events do not bubble

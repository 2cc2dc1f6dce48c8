// Fill the page with the data that is embedded in it.

const data = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("scripted");
for (const figure of document.querySelectorAll("[data-chart]")) new Chart(figure, data.charts[figure.dataset.chart]);
if (data.checkpoints.length) showCheckpoints(document.getElementById("checkpoints"), data.checkpoints);
if (data.probabilities.length) showTokens(document.getElementById("tokens"), data.probabilities);

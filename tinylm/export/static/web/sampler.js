// Sampling of the next token with temperature, top-k and top-p, as in tinylm/sampling/sampler.py.

// Returns the id that `uniform`, a number in [0, 1), draws from the logits.
export function draw(logits, uniform, { temperature, top_k, top_p }) {
  if (temperature === 0) return logits.indexOf(logits.reduce((a, b) => (b > a ? b : a)));
  const weights = softmax(logits, temperature);
  if (top_k === null && top_p === null) return invert(weights, uniform);
  let ids = mostLikely(weights, top_k);
  if (top_p !== null) ids = ids.subarray(0, nucleusSize(weights, ids, top_p));
  return ids[invert(Float64Array.from(ids, (id) => weights[id]), uniform)];
}

function softmax(logits, temperature) {
  const weights = Float64Array.from(logits, (logit) => logit / temperature);
  const largest = weights.reduce((a, b) => Math.max(a, b));
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i] = Math.exp(weights[i] - largest);
  return weights.map((weight) => weight / sum);
}

// Returns the `count` most likely ids, or all if it is null; equally likely ones are in the order of their numbers.
function mostLikely(weights, count) {
  return Uint32Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b).subarray(0, count ?? weights.length);
}

// Returns how many of the `ids`, the most likely first, have a total weight of `top_p`.
function nucleusSize(weights, ids, top_p) {
  let sum = 0;
  const end = ids.findIndex((id) => {
    const before = sum;
    sum += weights[id];
    return before >= top_p;
  });
  return end === -1 ? ids.length : end;
}

// Returns the index at which the normalized cumulative sum of the weights exceeds `uniform`.
function invert(weights, uniform) {
  let sum = 0;
  const cumulative = weights.map((weight) => (sum += weight));
  const found = cumulative.findIndex((until) => until > uniform * sum);
  return found === -1 ? weights.length - 1 : found;
}

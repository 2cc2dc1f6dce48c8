// Map values to positions on a chart, and choose its ticks.

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

function logarithmicTicks(low, high, count) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) ticks.push(Number((factor * 10 ** power).toPrecision(12)));
  }
  const within = ticks.filter((tick) => tick >= low && tick <= high);
  return within.length >= 3 ? within : linearTicks(low, high, count);
}

// A scale from the range of the values to [from, to] in pixels.
function makeScale(values, from, to, { logarithmic = false, zero = false, margin = 0, count = 5 } = {}) {
  let low = Math.min(...values), high = Math.max(...values);
  if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const bend = logarithmic ? Math.log : (value) => value;
  const unbend = logarithmic ? Math.exp : (value) => value;
  const pad = (bend(high) - bend(low)) * margin;
  const bottom = zero && low === 0 ? bend(low) : bend(low) - pad, top = bend(high) + pad;
  return {
    at: (value) => from + ((bend(value) - bottom) / (top - bottom)) * (to - from),
    ticks: (logarithmic ? logarithmicTicks : linearTicks)(unbend(bottom), unbend(top), count),
  };
}

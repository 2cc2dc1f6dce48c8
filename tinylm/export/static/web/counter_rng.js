// Random numbers that are a function of a seed and counters, bit for bit those of tinylm/compute/counter_rng.py.

const GOLDEN_GAMMA = 0x9e3779b97f4a7c15n;

const low64 = (x) => BigInt.asUintN(64, x);

function mix(x) {
  x = low64((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = low64((x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

// Returns a number in [0, 1) with 53 random bits.
export function uniform(seed, ...counters) {
  let state = mix(low64(BigInt(seed)));
  for (const counter of counters) state = mix(low64(state + GOLDEN_GAMMA * (BigInt(counter) + 1n)));
  return Number(state >> 11n) * 2 ** -53;
}

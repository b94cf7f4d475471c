// How numbers, sizes, times and names are written; nothing here touches the page.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** At most four digits: 0, 0.4, 12, 9,999, 12.3k, 4.56M. */
export function count(value) {
  if (value >= 1e4) return scaled(value, 1000, ["", "k", "M", "G", "T", "P"], "");
  if (value > 0 && value < 10 && !Number.isInteger(value)) return value < 0.05 ? "<0.1" : value.toFixed(1);
  return WHOLE.format(value);
}

/** Octets, in powers of 1000: 0 B, 812 B, 12.3 kB. */
export function octets(value) {
  return value < 999.5 ? `${Math.round(value)} B` : scaled(value, 1000, ["B", "kB", "MB", "GB", "TB", "PB"], " ");
}

function scaled(value, base, units, between) {
  let unit = 0;
  let rest = value;
  // 999.5 would be written as 1000: it belongs to the next unit
  while (rest >= base - 0.5 && unit < units.length - 1) {
    rest /= base;
    unit += 1;
  }
  const digits = rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0;
  return `${rest.toFixed(digits)}${between}${units[unit]}`;
}

/** A latency: 850 µs, 1.2 ms, 340 ms, 2.4 s. */
export function latency(seconds) {
  if (seconds < 0.0009995) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${short(seconds * 1e3)} ms`;
  return `${short(seconds)} s`;
}

function short(value) {
  return value < 9.95 ? value.toFixed(1) : value.toFixed(0);
}

/** A span of time, in two units at most: 0 s, 45 s, 3 min 5 s, 2 h 5 min, 12 d 4 h. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [size, unit, lesser, name] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole < size) continue;
    const rest = Math.floor((whole % size) / lesser);
    return rest ? `${Math.floor(whole / size)} ${unit} ${rest} ${name}` : `${Math.floor(whole / size)} ${unit}`;
  }
  return `${whole} s`;
}

/** The local time of day of seconds since 1970. */
export function clock(time) {
  return CLOCK.format(new Date(time * 1000));
}

/** "1 tunnel", "2 tunnels". */
export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** "too_large" as words. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

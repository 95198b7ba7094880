/** Amounts in minor units of a currency: whole numbers, shown with the currency's decimals. */

const NONE = new Set(["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"]);
const THREE = new Set(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]);

/** How many decimals a currency has (ISO 4217). */
export function exponent(currency: string): number {
  if (NONE.has(currency)) return 0;
  return THREE.has(currency) ? 3 : 2;
}

/** `123456`, `EUR` as `1 234.56 EUR`. */
export function cents(amount: number, currency: string): string {
  const places = exponent(currency);
  const digits = Math.abs(amount).toString().padStart(places + 1, "0");
  const whole = digits.slice(0, digits.length - places).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const fraction = places === 0 ? "" : `.${digits.slice(-places)}`;
  return `${amount < 0 ? "-" : ""}${whole}${fraction} ${currency}`;
}

// The two equations of the ledger. Pure.

import type { Ledger, Missing } from "./api.js";

export interface Term {
  label: string;
  value: number;
}

/** `left = the sum of right`, and whether it is so. */
export interface Equation {
  left: Term;
  right: Term[];
  holds: boolean;
}

export function missingTotal(missing: Missing): number {
  return missing.evicted + missing.late + missing.failed + missing.no_lane + missing.cancelled;
}

export function equations(ledger: Ledger): Equation[] {
  return [
    equation("decoded", ledger.decoded, [
      { label: "waiting", value: ledger.waiting },
      { label: "skipped", value: ledger.skipped },
      { label: "refused", value: ledger.refused },
      { label: "admitted", value: ledger.admitted },
    ]),
    equation("admitted", ledger.admitted, [
      { label: "answered", value: ledger.answered },
      { label: "not asked", value: ledger.not_asked },
      { label: "missing", value: missingTotal(ledger.missing) },
      { label: "held", value: ledger.held },
    ]),
  ];
}

function equation(label: string, value: number, right: Term[]): Equation {
  const sum = right.reduce((sum, term) => sum + term.value, 0);
  return { left: { label, value }, right, holds: sum === value };
}

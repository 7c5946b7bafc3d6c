// The two equations of the ledger. Pure.
export function missingTotal(missing) {
    return missing.evicted + missing.late + missing.failed + missing.no_lane + missing.cancelled;
}
export function equations(ledger) {
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
function equation(label, value, right) {
    const sum = right.reduce((sum, term) => sum + term.value, 0);
    return { left: { label, value }, right, holds: sum === value };
}

/**
 * What one client did to a register with revisions, with the moments of asking and of the answer.
 * - `set`: it took the register from `expected` to `revision`;
 * - `conflict`: it was told that the register is not at `expected` any more, where it had been;
 * - `read`: it saw `revision`. 0 = nothing yet.
 */
export interface Operation {
  readonly kind: 'set' | 'conflict' | 'read'
  readonly expected: number
  readonly revision: number
  readonly from: number
  readonly to: number
}

/**
 * Whether there is one order of all operations that agrees with the clock and explains every answer. Revisions only grow, so
 * the order of the sets is known and the search of Wing and Gong is a look at each pair.
 * @returns what is wrong; empty = linearizable
 */
export function violations(operations: readonly Operation[]): string[] {
  const found: string[] = []
  const sets = operations.filter(({ kind }) => kind === 'set').sort((a, b) => a.revision - b.revision)
  for (const [at, set] of sets.entries()) {
    const before = sets[at - 1]?.revision ?? 0
    if (set.expected !== before) found.push(`lost update: ${set.revision} replaced ${set.expected}, not ${before}`)
  }
  const setOf = new Map(sets.map((set) => [set.revision, set]))
  for (const operation of operations) {
    const { kind, expected, revision } = operation
    const source = kind === 'read' ? revision : expected
    const set = setOf.get(source)
    if (source !== 0 && set === undefined) found.push(`${kind} of ${source}, which nobody set`)
    if (set !== undefined && set.from > operation.to) found.push(`${kind} of ${source} before it was set`)
  }
  // What is known of the register after each operation: it is at least there.
  const floorOf = ({ kind, expected, revision }: Operation) => (kind === 'conflict' ? expected + 1 : revision)
  // What it may have been at the most when each operation took place.
  const ceilingOf = ({ kind, expected, revision }: Operation) =>
    kind === 'read' ? revision : kind === 'set' ? expected : Number.POSITIVE_INFINITY
  for (const earlier of operations) {
    for (const later of operations) {
      if (earlier.to >= later.from || floorOf(earlier) <= ceilingOf(later)) continue
      found.push(`${later.kind} at ${ceilingOf(later)} after ${earlier.kind} had shown ${floorOf(earlier)}`)
    }
  }
  // A conflict needs a moment at which the register had left what was expected.
  for (const { kind, expected, to } of operations) {
    if (kind !== 'conflict') continue
    const next = sets.find(({ revision }) => revision > expected)
    if (next === undefined || next.from > to) found.push(`a conflict with ${expected}, which was still there`)
  }
  return found
}

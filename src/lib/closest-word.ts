/** Most changes between a word and a mistyped one; more than this, or than a third of the word, make another word. */
const changesMax = 3

/** The one of `words` that was probably meant: fewest letters added, left out, changed or swapped; undefined = none is near. */
export function closestWord(word: string, words: readonly string[]): string | undefined {
  const near = words
    .map((candidate) => ({ candidate, changes: changesBetween(word, candidate) }))
    .filter(({ candidate, changes }) => changes <= Math.min(changesMax, Math.max(word.length, candidate.length) / 3))
  return near.toSorted((a, b) => a.changes - b.changes)[0]?.candidate
}

/** Damerau-Levenshtein distance (optimal string alignment). */
function changesBetween(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped =
        a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] ?? i) + 1 : Number.MAX_SAFE_INTEGER
      row[j] = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, changed, swapped)
    }
    before = last
    last = row
  }
  return last[b.length] ?? 0
}

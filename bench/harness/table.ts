export interface TableRow {
  readonly label: string
  readonly ours: boolean
  /** One a run, more is better; a text says why there is none. */
  readonly values: readonly number[] | string
}

/**
 * The rows with their best run, every run, and how many times faster than it ours is: one ratio for each row of ours in
 * the group of rows above it.
 */
export function formatTable(title: string, unit: string, rows: readonly TableRow[]): string {
  const labelWidth = Math.max(...rows.map(({ label }) => label.length))
  let ours: number[] = []
  let afterPeer = false
  const lines = rows.map((row) => {
    const label = `  ${row.label.padEnd(labelWidth)}`
    if (typeof row.values === 'string') return `${label}  ${row.values}`
    const best = Math.max(...row.values)
    if (row.ours) ours = afterPeer ? [best] : [...ours, best]
    afterPeer = !row.ours
    const ratio = row.ours ? 'ours' : ours.map((value) => `${(value / best).toFixed(2)} x`).join(', ')
    const runs = row.values.length > 1 ? `[${row.values.map(formatNumber).join(' ')}]` : ''
    return `${label}  ${formatNumber(best).padStart(9)}  ${ratio.padEnd(14)}  ${runs}`.trimEnd()
  })
  return [`${title} (${unit}, best run; ours / peer)`, ...lines, ''].join('\n')
}

function formatNumber(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(value < 10 ? 2 : 1)
}

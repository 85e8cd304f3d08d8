/** Lines of a node's output that are warnings or worse, and what Node warns of; with how often each came. */
export function warningsIn(output: string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const line of output.split('\n')) {
    const text = lineOf(line)
    if (text !== undefined) counts[text] = (counts[text] ?? 0) + 1
  }
  return counts
}

function lineOf(line: string): string | undefined {
  const warning = /^\(node:\d+\) (.*)/.exec(line)?.[1]
  if (warning !== undefined) return warning
  if (!line.startsWith('{"level":')) return undefined
  const { msg, err, route, url } = JSON.parse(line) as Record<string, string> & { err?: { message?: string } }
  return [msg, route ?? url?.replace(/\?.*/, ''), err?.message].filter((part) => part !== undefined).join(': ')
}

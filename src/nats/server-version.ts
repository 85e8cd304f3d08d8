/** Atomic batches and batched direct gets need it. */
export const minimumServerVersion = '2.12.0'

/** Numeric comparison of `major.minor.patch`; a suffix (`-RC.1`) is not looked at. */
export function olderThan(version: string, minimum: string): boolean {
  const [a, b] = [numbers(version), numbers(minimum)]
  for (let i = 0; i < 3; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

function numbers(version: string): number[] {
  return (version.split('-')[0] ?? '').split('.').map((part) => Number.parseInt(part, 10) || 0)
}

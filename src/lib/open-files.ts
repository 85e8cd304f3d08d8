import { readFile } from 'node:fs/promises'

/** How many files this process may have open; undefined where nobody tells: only Linux does without a shell. */
export async function openFilesMax(limitsFile = '/proc/self/limits'): Promise<number | undefined> {
  const limits = await readFile(limitsFile, 'utf8').catch(() => '')
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1]
  if (soft === undefined) return undefined
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
}

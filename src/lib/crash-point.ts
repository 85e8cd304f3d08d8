/**
 * The steps between the first byte of a command and its reply at which a process can die. A test kills it at each of them
 * (test/faults/crash-points.test.ts, which fails when a step has no case).
 */
export const crashPoints = [
  'put-accepted',
  'put-first-byte',
  'put-stored',
  'put-decided',
  'put-committed',
  'put-indexed',
  'names-decided',
  'names-committed',
  'names-indexed',
  'ref-written',
  'entry-written',
  'delete-decided',
  'delete-committed',
  'delete-indexed',
  'ipns-decided',
  'ipns-committed',
  'ipns-indexed',
  'projector-read',
  'projector-indexed',
] as const
export type CrashPoint = (typeof crashPoints)[number]

/** Told when a step is reached; does nothing but in a test, where it may not return. */
export type Reach = (point: CrashPoint) => void

export const passBy: Reach = () => undefined

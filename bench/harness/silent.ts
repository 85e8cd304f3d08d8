import pino from 'pino'

/** A log for parts that want one where nobody reads it. */
export const silent = pino({ level: 'silent' })

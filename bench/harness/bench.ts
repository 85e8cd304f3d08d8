import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { resolveServerBinary } from '../../src/nats/server-binary.ts'
import { formatTable, type TableRow } from './table.ts'

export interface BenchOptions {
  readonly runs: number
  /** Of the large files. */
  readonly sizeBytes: number
}

export interface Row {
  readonly label: string
  readonly ours?: true
  /** One measured run: so many units a second. A text says why there is none, as for a peer that is not on PATH. */
  readonly run: ((round: number) => Promise<number>) | string
}

export interface Bench extends BenchOptions {
  readonly natsServer: string
  /** Runs all rows in turn (A B A B …), so that what else the machine does hits all of them, and prints the table. */
  measure(title: string, unit: string, rows: readonly Row[]): Promise<void>
}

export type Question = (bench: Bench) => Promise<void>

export async function createBench(options: BenchOptions): Promise<Bench> {
  const { path } = await resolveServerBinary({ binary: process.env.STOWAGE_NATS_SERVER, env: process.env })
  return {
    ...options,
    natsServer: path,
    async measure(title, unit, rows) {
      const results: (number[] | string)[] = rows.map(({ run }) => (typeof run === 'string' ? run : []))
      for (let round = 0; round < options.runs; round++) {
        for (const [index, row] of rows.entries()) {
          const values = results[index]
          if (typeof row.run === 'string' || !Array.isArray(values)) continue
          try {
            const value = await row.run(round)
            values.push(value)
            console.error(`  … ${row.label}: ${value.toFixed(1)}`)
          } catch (error) {
            // One peer that fails must not hide what the others do.
            results[index] = `failed: ${error instanceof Error ? error.message : String(error)}`
          }
        }
      }
      const table: TableRow[] = rows.map(({ label, ours }, index) => ({
        label,
        ours: ours === true,
        values: results[index] ?? [],
      }))
      console.log(formatTable(title, unit, table))
    },
  }
}

/** Whether a program is on PATH. */
export function isOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

export const notOnPath = 'not on PATH'

/** Requests one after the other, over one kept connection a node. */
export type NamesJob =
  | {
      /** Get by name, or (`bare`) a reply that asks nobody anything: what the machine and HTTP take alone. */
      readonly kind: 'get' | 'bare'
      /** In turn (A B B A …), so that what else the machine does hits all of them. */
      readonly nodes: readonly { readonly apiUrl: string; readonly names: number }[]
      readonly rounds: number
    }
  | {
      /** From the beginning to the end and again, each page from the cursor of the one before. */
      readonly kind: 'page'
      readonly apiUrl: string
      readonly pages: number
    }

export interface NamesResult {
  /** Milliseconds from the request to the last byte of the reply; of each node, ascending. */
  readonly latencies: readonly (readonly number[])[]
  /** Of the last reply. */
  readonly bytes: number
}

export const namesPerPage = 1000

export const nameOf = (index: number): string => `bench/${String(index % 100).padStart(2, '0')}/file-${index}.txt`

import { oneCluster, type Places, setPolicy, threeSites, token } from './placement-places.ts'
import { placementRun } from './placement-run.ts'

export interface RoundsOptions {
  readonly seed: number
  readonly endMs: number
  readonly natsServer: string
  readonly log: (line: string) => void
}

const roundMs = 60_000

/** Scenario 7 in turn over three sites and over one cluster, with 2 and 3 copies. @returns whether all was well */
export async function placementRounds({ seed, endMs, natsServer, log }: RoundsOptions): Promise<boolean> {
  let isWell = true
  for (let round = 0; Date.now() < endMs; round++) {
    const isCluster = round % 2 === 1
    const copies = 2 + (Math.floor(round / 2) % 2)
    const places: Places = await (isCluster ? oneCluster : threeSites)(natsServer)
    try {
      await setPolicy(places, copies)
      const result = await placementRun({
        ...{ ...places, token, seed: seed + round, copiesMin: copies, log },
        ...{ putsMax: 1_000, untilMs: Math.min(endMs, Date.now() + roundMs), settleMsMax: 180_000 },
      })
      log(`round ${round}, ${isCluster ? 'a cluster' : 'three sites'}, ${copies} copies: ${JSON.stringify(result)}`)
      const { lost, hollow, below, unsettled } = result
      if (lost.length + hollow.length + below.length + unsettled.length > 0) isWell = false
    } finally {
      await places.stop()
    }
  }
  return isWell
}

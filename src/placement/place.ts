/** `site` or `label=value`. */
export function matches(
  place: string,
  { site, labels }: { readonly site: string; readonly labels: Readonly<Record<string, string>> },
): boolean {
  const equals = place.indexOf('=')
  return equals < 0 ? place === site : labels[place.slice(0, equals)] === place.slice(equals + 1)
}

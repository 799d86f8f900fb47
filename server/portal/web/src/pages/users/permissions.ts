/** Permissions by what they are about ("devices.read" → "devices"), each in the order given. */
export function grouped(permissions: string[]): [area: string, permissions: string[]][] {
  const areas = new Map<string, string[]>();
  for (const permission of permissions) {
    const area = permission.split('.')[0] ?? permission;
    areas.set(area, [...(areas.get(area) ?? []), permission]);
  }
  return [...areas];
}

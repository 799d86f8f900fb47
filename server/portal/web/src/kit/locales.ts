import { currentLocale } from '../messages/t';

const LOCALES = ['en', 'en-GB', 'en-US', 'de', 'de-AT', 'de-CH', 'fr', 'es', 'it', 'nl', 'pl', 'pt', 'sv'];

/** Languages and formats one can choose from; the one in use is always among them. */
export function localeOptions(current?: string): { value: string; label: string }[] {
  const names = new Intl.DisplayNames([currentLocale()], { type: 'language' });
  const nameOf = (code: string) => {
    try {
      return `${names.of(code) ?? code} (${code})`;
    } catch {
      return code;
    }
  };
  return [...new Set([...(current ? [current] : []), ...LOCALES])].map((code) => ({ value: code, label: nameOf(code) }));
}

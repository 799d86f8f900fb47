import { createTheme, type MantineColorsTuple, type CSSVariablesResolver } from '@mantine/core';
import { t } from '../messages/t';

const ink: MantineColorsTuple = [
  '#e6f5f8', '#cde8ee', '#9dd1dd', '#69b8ca', '#3fa3b9', '#2494ac', '#127d96', '#0b6f86', '#0a5d70', '#06475a',
];

// Cool greys: quieter beside the accent than neutral ones.
const gray: MantineColorsTuple = [
  '#f7f9fa', '#eef1f3', '#e3e8eb', '#d3dadf', '#b6c0c7', '#8f9ba4', '#66727c', '#4a555e', '#333d45', '#1d252c',
];

const dark: MantineColorsTuple = [
  '#d5dde3', '#a9b4bd', '#8793a0', '#5b6874', '#36414b', '#28323a', '#1c242b', '#141a20', '#10151a', '#0b0f13',
];

const mono = 'ui-monospace, "SF Mono", "Cascadia Mono", "Segoe UI Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';
const sans = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Cantarell, sans-serif';

export const theme = createTheme({
  primaryColor: 'ink',
  primaryShade: { light: 7, dark: 6 },
  colors: { ink, gray, dark },
  fontFamily: sans,
  fontFamilyMonospace: mono,
  defaultRadius: 'sm',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.125rem' },
  lineHeights: { xs: '1.35', sm: '1.4', md: '1.45', lg: '1.5', xl: '1.5' },
  radius: { xs: '3px', sm: '5px', md: '8px', lg: '12px', xl: '20px' },
  spacing: { xs: '0.5rem', sm: '0.75rem', md: '1rem', lg: '1.25rem', xl: '1.75rem' },
  headings: {
    fontWeight: '600',
    sizes: {
      h1: { fontSize: '1.25rem', lineHeight: '1.3' },
      h2: { fontSize: '1.0625rem', lineHeight: '1.35' },
      h3: { fontSize: '0.9375rem', lineHeight: '1.4' },
      h4: { fontSize: '0.875rem', lineHeight: '1.4' },
    },
  },
  components: {
    InputWrapper: { defaultProps: { inputWrapperOrder: ['label', 'input', 'description', 'error'] } },
    Button: { defaultProps: { size: 'xs' } },
    ActionIcon: { defaultProps: { variant: 'subtle', color: 'gray', size: 'md' } },
    TextInput: { defaultProps: { size: 'sm' } },
    PasswordInput: { defaultProps: { size: 'sm' } },
    Textarea: { defaultProps: { size: 'sm' } },
    NumberInput: { defaultProps: { size: 'sm' } },
    Select: { defaultProps: { size: 'sm', comboboxProps: { shadow: 'md' }, checkIconPosition: 'right' } },
    MultiSelect: { defaultProps: { size: 'sm', comboboxProps: { shadow: 'md' } } },
    TagsInput: { defaultProps: { size: 'sm', comboboxProps: { shadow: 'md' } } },
    DateTimePicker: { defaultProps: { size: 'sm' } },
    SegmentedControl: { defaultProps: { size: 'xs' } },
    Checkbox: { defaultProps: { size: 'sm' } },
    Switch: { defaultProps: { size: 'sm', withThumbIndicator: false } },
    Tabs: { defaultProps: { keepMounted: false } },
    Modal: { defaultProps: { closeButtonProps: { 'aria-label': t('kit.close') }, centered: false, radius: 'md', yOffset: '8dvh', overlayProps: { backgroundOpacity: 0.45, blur: 1 } } },
    Drawer: { defaultProps: { closeButtonProps: { 'aria-label': t('kit.close') }, position: 'right', overlayProps: { backgroundOpacity: 0.35 } } },
    Tooltip: { defaultProps: { openDelay: 300, withArrow: true, fz: 'xs', multiline: true, maw: 360 } },
    Badge: { defaultProps: { variant: 'light', radius: 'sm', size: 'sm' }, styles: { root: { textTransform: 'none', fontWeight: 550 } } },
    Paper: { defaultProps: { radius: 'md' } },
    Menu: { defaultProps: { shadow: 'md', position: 'bottom-end' } },
    Alert: { defaultProps: { radius: 'md' } },
    Anchor: { defaultProps: { underline: 'hover' } },
  },
});

// The surfaces of the shell, so that light and dark are both designed and not derived.
export const cssVariables: CSSVariablesResolver = () => ({
  variables: { '--reeve-header': '3.25rem', '--reeve-row': '2.375rem' },
  light: {
    '--mantine-color-body': '#fbfcfd',
    '--reeve-surface': '#ffffff',
    '--reeve-sunken': '#f4f7f8',
    '--reeve-line': '#e1e7ea',
    '--reeve-line-strong': '#cbd4d9',
    '--mantine-color-dimmed': '#5c6872',
    '--mantine-color-placeholder': '#66727c',
    '--reeve-terminal': '#10171c',
    '--mantine-color-text': '#1a2229',
    '--mantine-color-yellow-light-color': '#855200',
    '--mantine-color-teal-light-color': '#086b4b',
    '--mantine-color-red-light': '#fdebea',
    '--mantine-color-red-light-color': '#b02020',
  },
  dark: {
    '--mantine-color-body': '#12181d',
    '--reeve-surface': '#171e24',
    '--reeve-sunken': '#0f1418',
    '--reeve-line': '#273138',
    '--reeve-line-strong': '#3a464f',
    '--mantine-color-dimmed': '#94a1ac',
    '--mantine-color-placeholder': '#8793a0',
    '--reeve-terminal': '#0a0e11',
    '--mantine-color-text': '#d9e0e5',
    // The library's light variants are nearly black on these surfaces.
    '--mantine-primary-color-light': 'color-mix(in srgb, var(--mantine-color-ink-5) 22%, transparent)',
    '--mantine-primary-color-light-hover': 'color-mix(in srgb, var(--mantine-color-ink-5) 32%, transparent)',
    '--mantine-primary-color-light-color': '#8fd3e2',
    '--mantine-color-ink-light': 'color-mix(in srgb, var(--mantine-color-ink-5) 26%, transparent)',
    '--mantine-color-ink-light-hover': 'color-mix(in srgb, var(--mantine-color-ink-5) 34%, transparent)',
    '--mantine-color-ink-light-color': '#8fd3e2',
    '--mantine-color-gray-light': 'rgb(255 255 255 / 8%)',
    '--mantine-color-gray-light-hover': 'rgb(255 255 255 / 12%)',
    '--mantine-color-gray-light-color': '#c6d0d8',
    '--mantine-color-red-light': 'color-mix(in srgb, var(--mantine-color-red-6) 20%, transparent)',
    '--mantine-color-red-light-color': '#ffb3ae',
    '--mantine-color-yellow-light': 'color-mix(in srgb, var(--mantine-color-yellow-6) 17%, transparent)',
    '--mantine-color-yellow-light-color': '#ecc15c',
    '--mantine-color-blue-light': 'color-mix(in srgb, var(--mantine-color-blue-6) 20%, transparent)',
    '--mantine-color-blue-light-color': '#9cc9fb',
    '--mantine-color-teal-light': 'color-mix(in srgb, var(--mantine-color-teal-6) 18%, transparent)',
    '--mantine-color-teal-light-color': '#63dcab',
  },
});

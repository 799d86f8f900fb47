package fleet

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A device is found by the beginnings of its terms. Host and display names contribute every ending of
// every word, so that a substring of a name is the beginning of one of its terms; everything else
// contributes whole words. All of it is bounded, because an endpoint chooses most of it.
const (
	maxTermRunes   = 40  // longer words are found by their first 40 characters
	maxSuffixes    = 255 // endings per word: every one of the longest name
	maxTerms       = 700
	maxSearchWords = 8
)

// termsOf makes the search terms of a device.
func termsOf(names, others []string) []string {
	seen := map[string]struct{}{}
	add := func(term string) {
		if len(seen) < maxTerms && term != "" {
			seen[cut(term, maxTermRunes)] = struct{}{}
		}
	}
	for _, name := range names {
		for _, word := range strings.FieldsFunc(strings.ToLower(name), unicode.IsSpace) {
			n := 0
			for i := range word {
				if n++; n > maxSuffixes {
					break
				}
				add(word[i:])
			}
		}
	}
	for _, text := range others {
		text = strings.ToLower(text)
		for _, word := range strings.FieldsFunc(text, unicode.IsSpace) {
			add(word)
			// "dell\anna" is found as "anna", "10.0.0.5/24" as itself.
			if i := strings.LastIndexAny(word, `\@`); i >= 0 && i+1 < len(word) {
				add(word[i+1:])
			}
		}
	}
	terms := make([]string, 0, len(seen))
	for t := range seen {
		terms = append(terms, t)
	}
	slices.Sort(terms)
	return terms
}

// searchWords splits what a person types into the beginnings to look for; all must match.
func searchWords(q string) []string {
	words := strings.FieldsFunc(strings.ToLower(Line(q, 100)), unicode.IsSpace)
	if len(words) > maxSearchWords {
		words = words[:maxSearchWords]
	}
	for i := range words {
		words[i] = cut(words[i], maxTermRunes)
	}
	return words
}

// searchable tells whether every name that contains the text has a term that begins with it.
func searchable(part string) bool {
	return runes(part) <= maxTermRunes && !strings.ContainsFunc(part, unicode.IsSpace)
}

// prefixEnd is the exclusive end of the range of all texts that begin with s, under COLLATE "C": the
// last code point of Unicode is no character, so that no text goes on with it.
func prefixEnd(s string) string { return s + string(rune(utf8.MaxRune)) }

package schedule

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"reeve/api/fault"
)

// ParseRecurrence reads the wire form strictly and validates it: exactly one key, no unknown, missing,
// repeated or wrongly typed field. All faults are reported together.
func ParseRecurrence(data []byte) (Recurrence, error) {
	var r Recurrence
	var faults, rules fault.Fields
	r.decode(data, &faults)
	if r.kinds() > 0 {
		r.Check(&rules, "")
	}
	for _, f := range rules {
		if !covered(faults, f.Pointer) {
			faults = append(faults, f)
		}
	}
	if err := faults.Err(); err != nil {
		return Recurrence{}, err
	}
	return r, nil
}

// covered tells whether a place, or one that holds it, is already known to be faulty.
func covered(faults fault.Fields, pointer string) bool {
	for _, f := range faults {
		if pointer == f.Pointer || strings.HasPrefix(pointer, f.Pointer+"/") {
			return true
		}
	}
	return false
}

// UnmarshalJSON reads the wire form strictly. It does not judge values, so that what was stored under
// earlier rules still loads; Validate does.
func (r *Recurrence) UnmarshalJSON(data []byte) error {
	var faults fault.Fields
	*r = Recurrence{}
	r.decode(data, &faults)
	return faults.Err()
}

func (r *Recurrence) decode(data []byte, faults *fault.Fields) {
	o := readObject(data, "", faults, "cron", "every", "weekday_of_month", "last_day_of_month", "patch_tuesday", "once")
	if len(*faults) == 0 && len(o.values) != 1 {
		faults.Add("", oneOf)
	}
	for key, value := range o.values {
		at := "/" + key
		switch key {
		case "cron":
			r.Cron = o.text(key)
		case "once":
			r.Once = o.text(key)
		case "every":
			in := readObject(value, at, faults, "n", "unit", "anchor")
			r.Every = &Every{N: in.number("n"), Unit: Unit(in.text("unit")), Anchor: in.text("anchor")}
		case "weekday_of_month":
			in := readObject(value, at, faults, "n", "weekday", "time")
			r.WeekdayOfMonth = &WeekdayOfMonth{N: in.number("n"), Weekday: in.text("weekday"), Time: in.text("time")}
		case "last_day_of_month":
			in := readObject(value, at, faults, "time")
			r.LastDayOfMonth = &LastDayOfMonth{Time: in.text("time")}
		case "patch_tuesday":
			in := readObject(value, at, faults, "plus_days", "time")
			r.PatchTuesday = &PatchTuesday{PlusDays: in.number("plus_days"), Time: in.text("time")}
		}
	}
}

// object is a JSON object of known fields. Package json alone would match names in any letter case,
// take the last of repeated ones, and not say where a fault is.
type object struct {
	at     string
	values map[string]json.RawMessage
	faults *fault.Fields
}

func readObject(data []byte, at string, faults *fault.Fields, known ...string) object {
	o := object{at, map[string]json.RawMessage{}, faults}
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		faults.Add(at, "must be an object with: %s", strings.Join(known, ", "))
		return o
	}
	for d.More() {
		var value json.RawMessage
		key, err := d.Token()
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			break // the missing end of the object is reported below
		}
		o.add(key.(string), value, known)
	}
	if _, err := d.Token(); err != nil {
		faults.Add(at, "is not valid JSON")
	} else if _, err := d.Token(); err != io.EOF {
		faults.Add(at, "holds something after the object")
	}
	return o
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func (o object) add(key string, value json.RawMessage, known []string) {
	pointer := o.at + "/" + escape.Replace(clip(key))
	for _, k := range known {
		if k == key {
			_, repeated := o.values[key]
			o.faults.Check(!repeated, pointer, "is given twice")
			o.values[key] = value
			return
		}
	}
	o.faults.Add(pointer, "is unknown: use %s", strings.Join(known, ", "))
}

func (o object) text(key string) (s string) {
	o.read(key, &s, "text")
	if _, given := o.values[key]; given && s == "" && !covered(*o.faults, o.at+"/"+key) {
		o.faults.Add(o.at+"/"+key, "must not be empty")
	}
	return s
}

func (o object) number(key string) (n int) {
	o.read(key, &n, "a whole number")
	return n
}

func (o object) read(key string, into any, what string) {
	value, given := o.values[key]
	if !given {
		o.faults.Add(o.at+"/"+key, "is required")
		return
	}
	if bytes.Equal(value, []byte("null")) || json.Unmarshal(value, into) != nil {
		o.faults.Add(o.at+"/"+key, "must be %s", what)
	}
}

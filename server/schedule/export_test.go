package schedule

import (
	"time"

	"gorm.io/gorm"
)

// SetClock lets a test move the database's clock, as far as schedules read it.
func (s *Service) SetClock(clock func(tx *gorm.DB) time.Time) { s.clock = clock }

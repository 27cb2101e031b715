package layer

// pusher uploads the digest into a repository under an object key, and puts an
// image that names it: upload.Service and Service.Complete, then domain/image.
func pusher(r int, key int8) actor {
	return func(s *step) {
		garbage := garbageRow + int(key)
		switch s.pc() {
		case 0:
			s.uploads[key] = 1
			s.next(1)
		case 1:
			s.objects[key] = 1
			s.next(2)
		case 2:
			if s.uploads[key] != 1 {
				s.end()
				return
			}
			s.uploads[key], s.flying[key] = 2, int8(s.me+1)
			s.next(3)
		case 3:
			if s.objects[key] != 1 {
				s.end()
				return
			}
			s.objects[key] = 2
			s.next(4)
		case 4:
			s.forShare(repoRow + r)
			s.next(5)
		case 5:
			if !s.lacks(pushInGarbage) && !s.insert(garbage, 1) && !s.blocked {
				s.rollback()
				s.end()
				return
			}
			s.next(6)
		case 6:
			if s.insert(blobRow, s.nextBlob*8+key+1) {
				s.setLoc(0, s.nextBlob)
				s.setLoc(1, 1)
				s.nextBlob++
				s.next(8)
				return
			}
			s.next(7)
		case 7:
			blob := s.read(blobRow)
			if !s.lacks(pushShares) {
				blob = s.forShare(blobRow)
			}
			if blob == 0 {
				s.next(6)
				return
			}
			s.setLoc(0, blobID(blob))
			s.next(8)
		case 8:
			s.insert(layerRow+r, s.loc(0))
			s.next(9)
		case 9:
			s.upsert(reviewRow+r, s.loc(0)*8+s.now+1+1)
			if s.blocked {
				return
			}
			if s.loc(1) == 1 && !s.lacks(pushInGarbage) {
				s.write(garbage, 0, always)
			}
			s.commit()
			s.land()
			s.promised[r] = s.now + 1
			s.next(10)
			if s.loc(1) == 1 {
				s.next(15)
			}
		case 15:
			s.uploads[key] = 0
			s.next(20)
		case 20, 21:
			s.putImage(r)
		default:
			s.bury(key, 10, 15)
		}
	}
}

// putImage is PutImage, at 20 and 21.
func (s *step) putImage(r int) {
	if s.pc() == 20 {
		s.forUpdate(repoRow+r, false)
		s.next(21)
		return
	}
	blob := int8(0)
	if layer := s.read(layerRow + r); layer != 0 {
		if blob = s.forShare(blobRow); s.blocked {
			return
		}
		if blobID(blob) != layer {
			blob = 0
		}
	}
	if blob == 0 {
		s.rollback()
		s.end()
		return
	}
	s.insert(imageRow+r, 1)
	if s.blocked {
		return
	}
	s.commit()
	s.image[r] = true
	s.end()
}

// mounter is Service.Mount, and an image afterwards.
func mounter(from, to int) actor {
	return func(s *step) {
		switch s.pc() {
		case 0:
			s.forShare(repoRow + to)
			s.next(1)
		case 1:
			if s.read(imageRow+from) == 0 || s.read(layerRow+from) == 0 {
				s.rollback()
				s.end()
				return
			}
			s.setLoc(0, s.read(layerRow+from))
			s.next(2)
		case 2:
			blob := s.read(blobRow)
			if !s.lacks(mountShares) {
				blob = s.forShare(blobRow)
			}
			if s.blocked {
				return
			}
			if blobID(blob) != s.loc(0) {
				s.rollback()
				s.end()
				return
			}
			s.next(3)
		case 3:
			s.insert(layerRow+to, s.loc(0))
			s.next(4)
		case 4:
			s.upsert(reviewRow+to, s.loc(0)*8+s.now+1+1)
			if s.blocked {
				return
			}
			s.commit()
			s.promised[to] = s.now + 1
			s.next(20)
		case 20, 21:
			s.putImage(to)
		}
	}
}

// deleter deletes the repository's image.
func deleter(r int) actor {
	return func(s *step) {
		switch s.pc() {
		case 0:
			s.forUpdate(repoRow+r, false)
			s.next(1)
		case 1:
			if s.write(imageRow+r, 0, always) && !s.lacks(releaseQueues) {
				if layer := s.read(layerRow + r); layer != 0 {
					s.upsert(reviewRow+r, layer*8+s.now+1+1)
				}
			}
			if s.blocked {
				return
			}
			s.commit()
			s.image[r] = false
			s.end()
		}
	}
}

// collector is collect.Service's review, twice at the most.
func collector(r int) actor {
	again := func(s *step) {
		s.commit()
		n := s.loc(3)
		s.end()
		if n == 0 {
			s.next(0)
			s.setLoc(3, 1)
		}
	}
	return func(s *step) {
		taken := func() (taken, ok bool) {
			where := func(v int8) bool { return v == s.loc(0)*8+s.loc(1)+1 }
			if s.lacks(lookAgain) {
				where = always
			}
			taken = s.write(reviewRow+r, 0, where)
			return taken, !s.blocked
		}
		switch s.pc() {
		case 0:
			v := s.read(reviewRow + r)
			if due := v%8 - 1; v == 0 || due > s.now {
				s.wait()
				return
			}
			s.setLoc(0, v/8)
			s.setLoc(1, v%8-1)
			s.setLoc(2, s.read(imageRow+r))
			s.next(1)
		case 1:
			if !s.lacks(repoHeld) {
				s.forShare(repoRow + r)
			}
			s.next(2)
		case 2:
			referenced := s.read(imageRow + r)
			if s.lacks(imagesLocked) {
				referenced = s.loc(2)
			}
			if referenced != 0 {
				if _, ok := taken(); ok {
					again(s)
				}
				return
			}
			s.next(3)
			if s.lacks(blobFirst) {
				s.next(5)
			}
		case 3:
			blob := s.read(blobRow)
			if !s.lacks(blobHeld) {
				if blob = s.forUpdate(blobRow, true); blob == 0 && blobID(s.read(blobRow)) == s.loc(0) {
					again(s) // somebody uses it
					return
				}
			}
			if blobID(blob) != s.loc(0) {
				if _, ok := taken(); ok {
					again(s)
				}
				return
			}
			s.next(4)
		case 4:
			got, ok := taken()
			if ok && !got {
				again(s)
				return
			}
			s.next(7)
		case 5, 6: // the other way round
			if s.pc() == 5 {
				if got, ok := taken(); ok && !got {
					again(s)
					return
				}
				s.next(6)
				return
			}
			if blobID(s.forUpdate(blobRow, false)) != s.loc(0) && !s.blocked {
				again(s)
				return
			}
			s.next(7)
		case 7:
			s.write(layerRow+r, 0, always)
			s.next(8)
		case 8:
			for other := range 2 {
				if s.read(layerRow+other) == s.loc(0) {
					again(s)
					return
				}
			}
			s.next(9)
		case 9:
			blob := s.read(blobRow)
			if blobID(blob) != s.loc(0) {
				again(s)
				return
			}
			s.insert(garbageRow+int(blobKey(blob)), 1)
			if !s.blocked {
				s.write(blobRow, 0, always)
			}
			if s.blocked {
				return
			}
			if s.lacks(garbageFirst) {
				s.objects[blobKey(blob)] = 0
				s.next(10)
				return
			}
			again(s)
		case 10:
			again(s)
		}
	}
}

// bury is the deletion of a garbage row's object, in five steps from pc on.
func (s *step) bury(key, pc, exit int8) {
	row := garbageRow + int(key)
	leave := func() {
		s.rollback()
		s.next(exit)
	}
	held := func() bool { return s.read(holdRow) != 0 && !s.lacks(holdsSeen) && !s.lacks(holdsSeenAfter) }
	claim := func() bool { return s.forUpdate(row, true)%2 == 1 }
	switch s.pc() - pc {
	case 0:
		if !claim() {
			leave()
			return
		}
		s.next(pc + 1)
	case 1:
		if held() {
			leave()
			return
		}
		s.next(pc + 2)
	case 2:
		if blob := s.read(blobRow); blob != 0 && blobKey(blob) == key {
			leave()
			return
		}
		if !s.write(row, 2, always) {
			leave()
			return
		}
		s.commit()
		s.next(pc + 3)
	case 3:
		s.objects[key] = 0
		s.next(pc + 4)
	case 4:
		if s.write(row, 0, always); s.blocked {
			return
		}
		s.commit()
		s.next(exit)
	}
}

// burier deletes what is garbage and due.
func burier(s *step) {
	if s.pc() == 0 && s.lacks(holdsSeenAfter) {
		if s.read(holdRow) != 0 {
			s.wait()
			return
		}
		s.next(40)
		return
	}
	if s.pc() == 0 || s.pc() == 40 {
		s.chosen = true
		switch s.rows[garbageRow+s.choice] {
		case 1:
		case 3:
			if s.flying[s.choice] != 0 && !s.lacks(flyingWaits) {
				s.wait()
				return
			}
		default:
			s.wait()
			return
		}
		s.setLoc(0, int8(s.choice))
		s.next(1)
		return
	}
	if s.bury(s.loc(0), 1, 0); s.pc() == 0 {
		s.setLoc(0, 0)
	}
}

// mover is placement.Service's move to an object key of its own.
func mover(to int8) actor {
	return func(s *step) {
		switch s.pc() {
		case 0:
			blob := s.read(blobRow)
			if blob == 0 {
				s.wait()
				return
			}
			s.setLoc(0, blobKey(blob))
			s.setLoc(1, blob)
			s.next(1)
		case 1:
			s.insert(garbageRow+int(to), 3)
			s.commit()
			s.flying[to] = int8(s.me + 1)
			s.next(2)
		case 2:
			s.objects[to] = 1
			s.next(3)
		case 3:
			if s.objects[s.loc(0)] != 2 || s.objects[to] != 1 {
				s.end() // the copy is garbage
				return
			}
			s.objects[to] = 2
			s.next(4)
		case 4:
			blob := s.forUpdate(blobRow, false)
			if s.blocked {
				return
			}
			if s.lacks(moveLooks) {
				s.setLoc(1, max(blob, s.loc(1)))
			} else if blob != s.loc(1) {
				s.rollback()
				s.setLoc(0, to)
				s.next(10)
				return
			}
			s.next(5)
		case 5:
			unclaimed := func(v int8) bool { return v != 2 || s.lacks(claimedStays) }
			if s.write(garbageRow+int(to), 0, unclaimed) {
				s.next(6)
			} else if !s.blocked {
				s.rollback()
				s.end()
			}
		case 6:
			s.upsert(blobRow, blobID(s.loc(1))*8+to+1)
			if !s.blocked {
				s.insert(garbageRow+int(s.loc(0)), 1)
			}
			if s.blocked {
				return
			}
			s.commit()
			s.land()
			s.next(10)
		case 15:
			s.end()
		default:
			s.bury(s.loc(0), 10, 15)
		}
	}
}

// backup takes a hold, then a snapshot, copies, and releases the hold.
func backup(s *step) {
	switch s.pc() {
	case 0:
		s.upsert(holdRow, 1)
		s.commit()
		s.next(1)
	case 1:
		if blob := s.read(blobRow); blob != 0 {
			s.snapshot = blobKey(blob) + 1
		}
		s.next(2)
	case 2:
		s.snapshot = 0
		s.write(holdRow, 0, always)
		s.commit()
		s.end()
	}
}

// reconciler is reconcile.Service's look at one object, whatever its age.
func reconciler(s *step) {
	switch s.pc() {
	case 0:
		s.chosen = true
		if s.objects[s.choice] == 0 {
			s.wait()
			return
		}
		s.setLoc(0, int8(s.choice))
		s.next(1)
	case 1:
		if s.uploads[s.loc(0)] != 0 {
			s.end()
			return
		}
		s.next(2)
	case 2:
		if !s.insert(garbageRow+int(s.loc(0)), 3) && !s.blocked {
			s.rollback()
			s.end()
			return
		}
		s.next(3)
	case 3:
		blob := s.read(blobRow)
		if blob != 0 && blobKey(blob) == s.loc(0) && !s.lacks(strayRechecked) {
			s.rollback() // the row goes in the transaction that it came in
		} else {
			s.commit()
		}
		s.end()
	}
}

// powerCut takes the rows of uploads.
func powerCut(s *step) {
	s.uploads, s.cut = [objectKeys]int8{}, true
	s.end()
}

// clockwork lets grace periods pass.
func clockwork(s *step) {
	if s.now++; s.now == 2 {
		s.end()
	}
}

-- Which of those who ask under an attempt got the admission: only that one can have lost the answer.
ALTER TABLE gate_attempt ADD COLUMN asker TEXT;
